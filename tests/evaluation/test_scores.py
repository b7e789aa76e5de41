"""Scores: scikit-learn's figures where it defines them, silent and stated where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from featx.errors import DatasetError, ParameterError
from featx.evaluation.scores import score_predictions


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_figures_are_scikit_learns(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    classes = np.array(sorted(f"class {i}" for i in range(n_classes)))
    y = classes[np.r_[np.arange(n_classes), rng.integers(0, n_classes, 60)]]
    proba = rng.dirichlet(np.ones(n_classes), len(y))
    predicted = classes[proba.argmax(axis=1)]
    found = score_predictions(y, proba, classes)
    ranked = proba[:, 1] if n_classes == 2 else proba
    assert found.accuracy == pytest.approx(metrics.accuracy_score(y, predicted))
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(y, ranked, multi_class="ovr"))
    assert found.log_loss == pytest.approx(metrics.log_loss(y, proba, labels=classes))


def test_a_class_that_does_not_occur_counts_for_nothing() -> None:
    proba = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]]
    found = score_predictions(["a", "b", "b"], proba, ["a", "b", "c"])
    assert found.roc_auc is None
    assert found.balanced_accuracy == 0.75
    assert found.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert "roc_auc" not in found.to_dict()
    assert set(found.to_dict()) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss"}


def test_one_sample_can_be_scored() -> None:
    assert score_predictions(["a"], [[0.25, 0.75]], ["a", "b"]).log_loss == pytest.approx(np.log(4))


def test_float32_probabilities_need_not_sum_to_one_exactly() -> None:
    proba = np.random.default_rng(0).dirichlet(np.ones(5), 200).astype(np.float32)
    y = np.arange(200) % 5
    assert score_predictions(y, proba, np.arange(5)).log_loss > 0  # a warning would be an error here


def test_a_label_that_training_never_saw_is_named() -> None:
    with pytest.raises(DatasetError, match="'wasp' did not occur in training, which knows 'ant', 'bee'"):
        score_predictions(["ant", "wasp"], [[0.5, 0.5]] * 2, ["ant", "bee"])


def test_numbers_are_not_the_strings_that_show_them() -> None:
    with pytest.raises(DatasetError, match="'1' did not occur in training, which knows 0, 1"):
        score_predictions(["1"], [[0.5, 0.5]], [0, 1])


@pytest.mark.parametrize(("n_rows", "n_columns"), [(3, 2), (2, 3)])
def test_shapes_that_do_not_belong_together_are_refused(n_rows: int, n_columns: int) -> None:
    with pytest.raises(ParameterError, match=rf"expected shape \(2, 2\).*found \({n_rows}, {n_columns}\)"):
        score_predictions(["a", "b"], np.full((n_rows, n_columns), 0.5), ["a", "b"])


def test_no_samples_are_refused() -> None:
    with pytest.raises(DatasetError, match="no samples to score"):
        score_predictions([], np.empty((0, 2)), ["a", "b"])
