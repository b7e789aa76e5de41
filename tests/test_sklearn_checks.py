"""scikit-learn's own estimator checks, those that apply to a transformer of images, by name.

``parametrize_with_checks`` yields a single check for estimators that take no 2-D arrays, so the ones that say something about
such an estimator are called here one by one. What the others ask (numeric X, sample weights, predictions) has no meaning for
images; the suite in ``featx.testing`` covers the rest of the contract.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import sklearn.utils.estimator_checks as checks

from featx import ImageFeatures
from featx.testing import tiny_backbone

APPLICABLE = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_unfitted",
    "check_fit_check_is_fitted",
    "check_get_feature_names_out_error",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_transformers_unfitted",
    "check_valid_tag_types",
]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> ImageFeatures:
    return ImageFeatures(str(tiny_backbone(tmp_path_factory.mktemp("tiny"))), cache=None)


@pytest.mark.parametrize("name", APPLICABLE)
def test_sklearn_check(name: str, features: ImageFeatures) -> None:
    check = getattr(checks, name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {name}")
    check("ImageFeatures", features)


def test_the_listed_checks_are_called_with_an_estimator(features: ImageFeatures) -> None:
    for name in APPLICABLE:
        parameters = list(inspect.signature(getattr(checks, name)).parameters)
        assert parameters[0] == "name"
        assert len(parameters) >= 2


def test_a_missing_attribute_would_be_found(tmp_path: Path) -> None:
    class Wrong(ImageFeatures):
        def __init__(self, backbone: str = "x") -> None:
            super().__init__(backbone)
            self.opened = True

    with pytest.raises(AssertionError):
        checks.check_no_attributes_set_in_init("Wrong", Wrong(str(tmp_path)))
