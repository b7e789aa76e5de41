"""What is loaded predicts what was saved, wherever the features and the trees nest; the saver's object stays as it was."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

import featx
from featx import EmbeddingStore, ImageFeatures, ImagePreprocess, make_head
from featx.artifact import describe
from featx.errors import ParameterError, SpaceMismatchError, UntrustedTypeError


def reloaded(model: Any, folder: Path, **how: Any) -> Any:
    return featx.load(featx.save(model, folder), cache=None, **how)


@pytest.mark.parametrize("head", ["logistic", "svm", "xgboost"])
def test_probabilities_are_equal_before_and_after(
    head: str, fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = fitted(make_head(head))
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(pictures), model.predict_proba(pictures))
    np.testing.assert_array_equal(again.predict(pictures), model.predict(pictures))


@pytest.mark.parametrize("head", ["logistic", "svm", "xgboost"])
def test_probabilities_are_equal_on_a_real_backbone_and_photographs(
    head: str, weights: Path, data: Path, tmp_path: Path
) -> None:
    folder = data / "hymenoptera_small"
    photographs = [str(p) for name in ("ants", "bees") for p in sorted((folder / name).glob("*.jpg"))[:8]]
    assert len(photographs) == 16
    features = ImageFeatures(str(weights / "mobilenet_v2"), device="cpu", cache=None)
    model = Pipeline([("features", features), ("head", make_head(head))]).fit(
        photographs, ["ant"] * 8 + ["bee"] * 8
    )
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(photographs), model.predict_proba(photographs))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: GridSearchCV(
            model, {"features__tap": ["pooled", ["relu1", "pooled"]]}, cv=2, scoring="accuracy"
        ),
        lambda model: GridSearchCV(model, {"head__C": [0.1, 1.0]}, cv=StratifiedKFold(2)),
        lambda model: CalibratedClassifierCV(model, cv=2),
        lambda model: CalibratedClassifierCV(model, cv=2, method="isotonic", ensemble=False),
        lambda model: VotingClassifier(
            [("one", model), ("two", clone(model).set_params(head__C=9.0))], voting="soft"
        ),
        lambda model: make_pipeline(
            FeatureUnion([("f", model[0]), ("again", clone(model[0]))]), LogisticRegression()
        ),
        lambda model: make_pipeline(
            model[0], MLPClassifier([4], random_state=0, max_iter=20, early_stopping=False)
        ),
    ],
    ids=["search over taps", "search", "calibrated", "isotonic", "voting", "union", "network"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_features_are_found_wherever_they_nest(
    wrap: Callable[[Any], Any],
    features: ImageFeatures,
    pictures: NDArray[np.uint8],
    y: NDArray[np.str_],
    tmp_path: Path,
) -> None:
    model = wrap(Pipeline([("features", features), ("head", LogisticRegression())])).fit(pictures, y)
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(pictures), model.predict_proba(pictures))


def test_columns_of_a_table_beside_images(
    features: ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    table = pd.DataFrame({"image": pd.Series(list(pictures), dtype=object), "age": np.arange(30.0)})
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([("image", features, "image"), ("age", numbers, ["age"])])
    model = make_pipeline(columns, LogisticRegression()).fit(table, y)
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(table), model.predict_proba(table))
    assert list(again[0].get_feature_names_out()) == list(model[0].get_feature_names_out())


def test_bagged_pipelines_keep_one_copy_of_the_backbone(
    features: ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    column = np.empty((30, 1), dtype=object)
    column[:, 0] = list(pictures)
    bagged = BaggingClassifier(make_pipeline(features, LogisticRegression()), n_estimators=3, random_state=0)
    model = bagged.fit(column, y)
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(column), model.predict_proba(column))
    assert [p.name for p in (tmp_path / "model" / "backbones").iterdir()] == ["tiny"]
    assert (
        len(describe(tmp_path / "model").features) == 4
    )  # three of the ensemble and the one it was made from


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_xgboost_classifiers_keep_their_trees_in_their_own_format(
    objective: str, fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(30) % (2 if objective.startswith("binary") else 3)
    features = fitted()[0]
    head = XGBClassifier(n_estimators=5, objective=objective, early_stopping_rounds=2, n_jobs=1)
    vectors = features.transform(pictures)
    head.fit(vectors, codes, eval_set=[(vectors + rng.normal(0, 0.1, vectors.shape), codes)], verbose=False)
    model = Pipeline([("features", features), ("head", head)])
    again = reloaded(model, tmp_path / "model")
    assert (tmp_path / "model" / "booster-0.ubj").is_file()
    np.testing.assert_array_equal(again.predict_proba(pictures), model.predict_proba(pictures))
    np.testing.assert_array_equal(again.classes_, model.classes_)
    assert again[-1].best_iteration == head.best_iteration
    assert again[-1].evals_result() == head.evals_result()


def test_xgboost_regressor_predicts_the_same(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = make_pipeline(features, XGBRegressor(n_estimators=5, n_jobs=1)).fit(pictures, np.arange(30.0))
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict(pictures), model.predict(pictures))
    assert describe(tmp_path / "model").classes is None


def test_estimators_without_images_are_saved_too(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = make_pipeline(FunctionTransformer(np.arcsinh), StandardScaler(), Ridge()).fit(X, X[:, 0])
    again = reloaded(model, tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert not (tmp_path / "model" / "backbones").exists()


def test_a_forest_loads_when_its_trees_are_trusted(
    fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = fitted(RandomForestClassifier(3, random_state=0))
    featx.save(model, tmp_path / "model")
    assert describe(tmp_path / "model").untrusted_types == ("sklearn.tree._tree.Tree",)
    assert 'trusted=("sklearn.tree._tree.Tree",)' in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(UntrustedTypeError, match=r'trusted=\("sklearn.tree._tree.Tree",\)'):
        featx.load(tmp_path / "model")
    again = featx.load(tmp_path / "model", cache=None, trusted=("sklearn.tree._tree.Tree",))
    np.testing.assert_array_equal(again.predict_proba(pictures), model.predict_proba(pictures))


def test_a_step_of_the_users_own_loads_when_it_is_trusted(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halving_step.py").write_text(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Halve(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        self.by_ = 2\n"
        "        return self\n"
        "    def transform(self, X):\n"
        "        return X / self.by_\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from halving_step import Halve  # type: ignore[import-not-found]  # written above

    model = make_pipeline(features, Halve()).fit(pictures)
    featx.save(model, tmp_path / "model")
    with pytest.raises(UntrustedTypeError, match=r"halving_step\.Halve"):
        featx.load(tmp_path / "model")
    again = featx.load(tmp_path / "model", cache=None, trusted=("halving_step.Halve",))
    np.testing.assert_array_equal(again.transform(pictures), model.transform(pictures))


def test_the_saved_object_is_not_modified(
    fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = fitted(make_head("xgboost"))
    store = EmbeddingStore(tmp_path / "store")
    model.set_params(features__cache=store)
    before = {step: dict(vars(estimator)) for step, estimator in model.steps}
    featx.save(model, tmp_path / "model")
    after = {step: dict(vars(estimator)) for step, estimator in model.steps}
    for step, attributes in before.items():
        assert after[step].keys() == attributes.keys()
        assert all(after[step][name] is value for name, value in attributes.items())
    assert model["features"].cache is store


def test_parameters_come_back_as_they_were(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    features.set_params(
        tap=["relu2", "pooled"], batch_size=np.int64(3), n_workers=2, on_error="nan", verbose=0
    )
    again = reloaded(features.fit(pictures), tmp_path / "model")
    expected = features.get_params() | {"backbone": str(tmp_path / "model" / "backbones" / "tiny")}
    assert again.get_params() == expected
    assert again.spaces_ == features.spaces_
    assert again.n_features_out_ == features.n_features_out_ == 28
    assert clone(again).fit(pictures).spaces_ == features.spaces_


@pytest.mark.parametrize("as_dict", [True, False])
def test_preprocessing_that_was_given_comes_back_as_it_was_given(
    as_dict: bool, features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    given = ImagePreprocess(size=40, crop=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2), decode="draft")
    features.set_params(preprocess=given.to_config() if as_dict else given).fit(pictures)
    again = reloaded(features, tmp_path / "model")
    assert again.preprocess == features.preprocess
    assert again.spaces_ == features.spaces_
    np.testing.assert_array_equal(again.transform(pictures), features.transform(pictures))


def test_the_choice_of_set_output_is_kept(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    features.set_output(transform="pandas").fit(pictures)
    again = reloaded(features, tmp_path / "model")
    pd.testing.assert_frame_equal(again.transform(pictures), features.transform(pictures))


def test_device_and_cache_are_set_on_every_features_estimator(
    features: ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    union = FeatureUnion(
        [("f", features.set_params(device="auto")), ("g", clone(features).set_params(tap="relu1"))]
    )
    featx.save(make_pipeline(union, LogisticRegression()).fit(pictures, y), tmp_path / "model")
    store = EmbeddingStore(tmp_path / "store")
    kept = featx.load(tmp_path / "model")
    changed = featx.load(tmp_path / "model", device="cpu", cache=store)
    assert [(f.device, f.cache) for _, f in kept[0].transformer_list] == [("auto", "default")] * 2
    assert [(f.device, f.cache) for _, f in changed[0].transformer_list] == [("cpu", store)] * 2
    with pytest.raises(ParameterError, match="gpu"):
        featx.load(tmp_path / "model", device="gpu")


def test_a_loaded_pipeline_can_be_pickled_saved_again_and_trained_further(
    fitted: Callable[..., Any], pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    model = fitted()
    again = reloaded(model, tmp_path / "model")
    expected = model.predict_proba(pictures)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict_proba(pictures), expected)
    featx.save(again, tmp_path / "model", overwrite=True)
    np.testing.assert_array_equal(
        featx.load(tmp_path / "model", cache=None).predict_proba(pictures), expected
    )
    np.testing.assert_array_equal(clone(again).fit(pictures, y).predict_proba(pictures), expected)


def test_a_loaded_transformer_refuses_another_space(
    features: ImageFeatures, pictures: NDArray[np.uint8], other: Path, tmp_path: Path
) -> None:
    again = reloaded(features.fit(pictures), tmp_path / "model")
    with pytest.raises(SpaceMismatchError):
        again.set_params(backbone=str(other)).transform(pictures)


def test_the_folder_says_what_it_is(fitted: Callable[..., Any], tmp_path: Path) -> None:
    featx.save(fitted(), tmp_path / "model", labels=["Ant", "Bee", "Wasp"], notes="Thirty noise pictures.")
    info = describe(tmp_path / "model")
    assert info.estimator == "ImageFeatures -> LogisticRegression"
    assert info.classes == ("ant", "bee", "wasp")
    assert info.labels == ("Ant", "Bee", "Wasp")
    assert info.n_features == 16
    assert info.parameters["head__C"] == 1.0
    assert info.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert info.notes == "Thirty noise pictures."
    readme = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    for words in (
        "ant (Ant)",
        "Thirty noise pictures.",
        "pooled of tiny",
        'featx.load("model")',
        info.versions["scikit-learn"],
    ):
        assert words in readme


def test_the_card_of_a_backbone_gives_licence_and_source(
    tiny: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(tiny, tmp_path / "carded")
    (tmp_path / "carded" / "featx.json").write_text('{"license": "CC0-1.0", "source": "dice"}')
    features = ImageFeatures(str(tmp_path / "carded"), device="cpu", cache=None).fit(pictures)
    featx.save(features, tmp_path / "model")
    (record,) = describe(tmp_path / "model").backbones
    assert (record.licence, record.source, record.stored) == ("CC0-1.0", "dice", "copy")
    assert "Licence: CC0-1.0. Source: dice." in (tmp_path / "model" / "README.md").read_text()


def test_an_unfitted_copy_beside_the_fitted_one_stays_unfitted(
    features: ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    search = GridSearchCV(
        make_pipeline(features, LogisticRegression()), {"logisticregression__C": [1.0, 2.0]}, cv=2
    )
    again = reloaded(search.fit(pictures, y), tmp_path / "model")
    with pytest.raises(NotFittedError):
        again.estimator.predict(pictures)
    assert again.estimator[0].backbone == str(tmp_path / "model" / "backbones" / "tiny")
    assert again.fit(pictures, y).best_params_ == search.best_params_


def test_the_readme_of_a_pipeline_on_a_frame_names_its_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, [0, 1, 0, 1])
    featx.save(pipeline, tmp_path / "model")
    readme = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "model.predict(pd.DataFrame({'a': [...], 'b': [...]}))" in readme


def test_arguments_in_the_wrong_order_are_told(tmp_path: Path) -> None:
    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ParameterError, match=r"featx\.save\(pipeline, folder\)"):
        featx.save("model", fitted)
    with pytest.raises(ParameterError, match="the path of an artefact"):
        featx.load(fitted)
    for argument in ("notes", "sample_column"):
        with pytest.raises(ParameterError, match=f"{argument} must be a string"):
            featx.save(fitted, tmp_path / "m", **{argument: 3})
