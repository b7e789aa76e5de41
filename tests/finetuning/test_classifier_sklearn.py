"""scikit-learn's own estimator checks, those that say something about a classifier of pictures, by name.

``parametrize_with_checks`` yields one check for estimators that take no 2-D arrays, so they are called one by one, as those of
``ImageFeatures`` are. What others ask (numeric X, sample weights) has no meaning here.
"""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import sklearn.utils.estimator_checks as checks

from featx import FineTuneClassifier

APPLICABLE = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("name", APPLICABLE)
def test_sklearn_check(name: str, network: str) -> None:
    check = getattr(checks, name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {name}")
    assert next(iter(inspect.signature(check).parameters)) == "name"
    check("FineTuneClassifier", FineTuneClassifier(network, checkpoints=None))


def test_construction_loads_neither_torch_nor_the_backbone() -> None:
    code = (
        "import sys, featx; model = featx.FineTuneClassifier('no such backbone', freeze_until='stage3');"
        "print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
