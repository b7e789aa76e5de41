"""Which types and functions a saved pipeline may name, and through which of skops' loaders.

skops rebuilds an object from a tree of nodes; each node names a type and a loader, and skops refuses types that are neither on
its own list nor named by the caller. What its loaders do, as of skops 0.16:

- *Data.* JSON values, containers, bytes, slices, arrays (``numpy.load(allow_pickle=False)``; an array of objects is a list of
  nodes), sparse matrices, dtypes, random states.
- *Lookup.* ``TypeNode`` and ``FunctionNode`` import a name: by default builtin types, numpy's scalar types and ufuncs.
- *Build.* ``ObjectNode`` makes an instance without ``__init__`` and hands it its attributes: by default scikit-learn's public
  estimators. ``LossNode`` does so for their loss functions.
- *Call.* ``ConstructorFromReduceNode``, ``PartialNode``, ``MethodNode``, ``OperatorFuncNode`` call, or make callable, what the
  file names, with the file's arguments. By default none of them may be used on anything.
- *Memory.* ``TreeNode`` and others take raw indices that compiled code follows unchecked: a crafted file crashes the process.
  By default refused.

In skops a trusted name may be used by any loader. That is too much for the names featx adds, so each of those is held to one.
"""

from __future__ import annotations

import functools

__all__ = ["CALL_BY_NAME", "LOADERS", "allowed"]

LOADERS = frozenset(
    {
        # data
        "BytearrayNode",
        "BytesNode",
        "DTypeNode",
        "DefaultDictNode",
        "DictNode",
        "JsonNode",
        "ListNode",
        "MaskedArrayNode",
        "NdArrayNode",
        "RandomGeneratorNode",
        "RandomStateNode",
        "SetNode",
        "SliceNode",
        "SparseMatrixNode",
        "TupleNode",
        # lookup, build
        "FunctionNode",
        "LossNode",
        "ObjectNode",
        "TypeNode",
        # call, memory
        "ConstructorFromReduceNode",
        "MethodNode",
        "OperatorFuncNode",
        "PartialNode",
        "QuantileForestNode",
        "TreeNode",
    }
)
"""Every loader that this module's docstring speaks of; a file that names another is refused."""

CALL_BY_NAME = frozenset(
    {"ConstructorFromReduceNode", "FunctionNode", "LossNode", "MethodNode", "ObjectNode", "TypeNode"}
)
"""Loaders that find their type or function by its name in a module."""

_SPLITTERS = (
    "GroupKFold",
    "GroupShuffleSplit",
    "KFold",
    "LeaveOneGroupOut",
    "LeaveOneOut",
    "PredefinedSplit",
    "RepeatedKFold",
    "RepeatedStratifiedKFold",
    "ShuffleSplit",
    "StratifiedGroupKFold",
    "StratifiedKFold",
    "StratifiedShuffleSplit",
)

# Plain Python objects whose attributes are data. Private names of scikit-learn are here because a fitted public estimator holds
# them. An xgboost estimator's trees are not among its attributes: a slot stands for them.
_OBJECTS = (
    "featx.artifact.slots.Slot",
    "featx.augmented.AugmentedClassifier",
    "featx.boosted.BoostedTreesClassifier",
    "featx.svm.SupportVectorClassifier",
    "featx.view_head.ViewHead",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
    *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS),
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
    "xgboost.sklearn.XGBRanker",
    "xgboost.sklearn.XGBRegressor",
)

# Functions of arrays that return numbers, called by methods of the estimators and scorers that hold them.
_FUNCTIONS = (
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
)


@functools.cache
def allowed() -> dict[str, str]:
    """Full names that may be built beside those that skops allows by itself, each with the loader it may be built by."""
    from sklearn.metrics import get_scorer, get_scorer_names

    scores = (get_scorer(name)._score_func for name in get_scorer_names())
    return {
        **dict.fromkeys(_OBJECTS, "ObjectNode"),
        **dict.fromkeys(_FUNCTIONS, "FunctionNode"),
        **dict.fromkeys((f"{score.__module__}.{score.__name__}" for score in scores), "FunctionNode"),
        "numpy.dtype": "DTypeNode",
        "numpy.number": "TypeNode",
        "sklearn.utils._bunch.Bunch": "DictNode",
    }
