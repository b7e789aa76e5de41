"""``predict`` of groups: one row each, in the order in which they appear, from the samples that could be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

import featx
from featx.errors import DatasetError, ParameterError


def pictures() -> tuple[list[NDArray[np.uint8]], list[str]]:
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 120, (32, 32, 3), dtype=np.uint8) for _ in range(12)]
    for picture in X[::2]:
        picture[..., 0] += 100
    return X, ["red", "dark"] * 6


def fitted(head: object) -> Pipeline:
    X, y = pictures()
    targets = np.arange(12.0) if isinstance(head, Ridge) else y
    return Pipeline([("features", featx.ImageFeatures(cache=None, device="cpu")), ("head", head)]).fit(
        X, targets
    )


GROUPS = ["b", "a", "b", "a", "c", "c", "b", "a", "c", "c", "c", "c"]


@pytest.mark.parametrize(("how", "reduce"), [("mean", np.mean), ("median", np.median), ("max", np.max)])
def test_probabilities_of_groups_are_those_of_their_samples(how: str, reduce) -> None:  # type: ignore[no-untyped-def]  # numpy's
    model, (X, _) = fitted(featx.make_head("logistic")), pictures()
    rows = model.predict_proba(X)
    found = featx.predict(model, X, groups=GROUPS, aggregate=how)
    assert found.names == ["b", "a", "c"]
    assert found.counts is not None
    assert found.counts.tolist() == [3, 3, 6]
    assert found.probabilities is not None
    for name, row in zip(found.names, found.probabilities, strict=True):
        mine = np.asarray([group == name for group in GROUPS])
        assert row[1] == pytest.approx(reduce(rows[mine, 1]))
        assert row.sum() == pytest.approx(1)
    assert found.labels.tolist() == model.classes_[found.probabilities.argmax(axis=1)].tolist()
    assert list(found.rows()[0]) == ["group", "n", "label", "p_dark", "p_red", "error"]


def test_votes_need_no_probabilities_and_means_do() -> None:
    model, (X, _) = fitted(LinearSVC()), pictures()
    found = featx.predict(model, X, groups=GROUPS, aggregate="vote")
    labels = model.predict(X)
    b = [label for label, group in zip(labels, GROUPS, strict=True) if group == "b"]
    assert found.labels[0] == max(set(b), key=b.count)
    with pytest.raises(ParameterError, match="vote"):
        featx.predict(model, X, groups=GROUPS, aggregate="mean")


def test_a_tie_of_votes_goes_to_the_surer_class() -> None:
    model, (X, _) = fitted(featx.make_head("logistic")), pictures()
    labels = model.predict(X)
    red, dark = (np.flatnonzero(labels == name)[0] for name in ("red", "dark"))
    found = featx.predict(model, [X[red], X[dark]], groups=["one", "one"], aggregate="vote")
    means = model.predict_proba([X[red], X[dark]]).mean(axis=0)
    assert found.labels.tolist() == [model.classes_[means.argmax()]]
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[0.5, 0.5]]


def test_values_of_a_regression_are_averaged() -> None:
    model, (X, _) = fitted(Ridge()), pictures()
    found = featx.predict(model, X, groups=GROUPS, aggregate="mean")
    assert found.labels[0] == pytest.approx(model.predict(X)[[0, 2, 6]].mean())


def test_unreadable_samples_count_for_nothing(tmp_path: Path) -> None:
    model, (X, _) = fitted(featx.make_head("logistic")), pictures()
    found = featx.predict(
        model,
        [X[0], b"no picture", b"nor this"],
        groups=["a", "a", "b"],
        aggregate="mean",
        skip_unreadable=True,
    )
    assert found.counts is not None
    assert found.counts.tolist() == [1, 0]
    assert found.labels.tolist() == [model.predict(X[:1])[0], None]
    assert "none of its samples" in found.rows()[1]["error"]


def test_groups_that_are_missing_or_too_few_are_refused() -> None:
    model, (X, _) = fitted(featx.make_head("logistic")), pictures()
    with pytest.raises(ParameterError, match="with groups"):
        featx.predict(model, X, aggregate="mean")
    with pytest.raises(DatasetError, match="one group a sample"):
        featx.predict(model, X, groups=["a"], aggregate="mean")
