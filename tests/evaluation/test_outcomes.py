"""Predictions of a group's samples become one of the group, in each way, and only where the group has one label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featx.errors import DatasetError, ParameterError
from featx.evaluation.outcomes import Outcomes, aggregate, check_one_label, concatenate, voted


def five(k: int = 2) -> Outcomes:
    second = np.asarray([0.1, 0.6, 0.7, 0.4, 0.2])
    proba = np.column_stack([1 - second, second])
    if k == 3:
        proba = np.column_stack([proba, np.full(5, 0.5)]) / 1.5
    return Outcomes(
        truth=np.asarray([0, 0, 1, 1, 1]),
        predicted=proba.argmax(axis=1),
        folds=np.zeros(5, dtype=int),
        units=np.asarray([7, 7, 8, 8, 8]),
        samples=np.asarray([3, 4, 0, 1, 2]),
        classes=np.asarray(["a", "b", "c"][:k]),
        scores=proba,
        proba=proba,
    )


GROUPS = np.asarray([0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [0.35, 13 / 30]), ("median", [0.35, 0.4]), ("max", [0.6, 0.7]), ("vote", [0.5, 1 / 3])],
)
def test_probabilities_of_groups(how: str, expected: list[float]) -> None:
    found = aggregate(five(), GROUPS, how)
    assert found.proba is not None
    np.testing.assert_allclose(found.proba[:, 1], expected)
    np.testing.assert_allclose(found.proba.sum(axis=1), 1)
    leading = found.proba[np.arange(2), found.predicted]
    np.testing.assert_array_equal(leading, found.proba.max(axis=1))
    np.testing.assert_array_equal(found.truth, [0, 1])
    np.testing.assert_array_equal(found.units, [7, 8])


def test_max_is_about_the_positive_class() -> None:
    """One sample that is likely positive makes its group positive, whichever label is the positive one."""
    first = aggregate(five(), GROUPS, "max", positive=0)
    assert first.proba is not None
    np.testing.assert_allclose(first.proba[:, 0], [0.9, 0.8])
    np.testing.assert_allclose(first.proba.sum(axis=1), 1)
    assert first.predicted.tolist() == [0, 0]


def test_scores_of_two_classes_stay_each_others_negative() -> None:
    second = np.asarray([-3.0, 1.0, 2.0, -1.0, -4.0])
    by_score = replace(five(), proba=None, scores=np.column_stack([-second, second]))
    for positive, expected in ((1, [1.0, 2.0]), (0, [-3.0, -4.0])):
        found = aggregate(by_score, GROUPS, "max", positive=positive)
        assert found.scores is not None
        np.testing.assert_array_equal(found.scores[:, 1], expected)
        np.testing.assert_array_equal(found.scores[:, 0], -found.scores[:, 1])
        assert found.predicted.tolist() == [int(value > 0) for value in expected]


def test_a_tie_of_votes_goes_to_the_surer_class_and_without_probabilities_to_the_first() -> None:
    tied = five()  # the first group's two samples differ in their label, and are 0.35 sure of "b" on the mean
    assert aggregate(tied, GROUPS, "vote").predicted[0] == 0
    assert tied.proba is not None
    other = replace(tied, proba=tied.proba[:, ::-1], scores=tied.proba[:, ::-1], predicted=1 - tied.predicted)
    assert aggregate(other, GROUPS, "vote").predicted[0] == 1
    assert aggregate(replace(other, proba=None), GROUPS, "vote").predicted[0] == 1
    assert aggregate(replace(other, proba=None, scores=None), GROUPS, "vote").predicted[0] == 0


def test_only_classes_with_most_votes_can_win_a_tie() -> None:
    shares = np.asarray([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    means = np.asarray([[0.1, 0.2, 0.7], [-np.inf, -np.inf, 3.0]])
    assert voted(shares, means).tolist() == [1, 0]


def test_samples_that_are_each_sure_of_another_class_have_their_mean_for_a_median() -> None:
    sure = replace(
        five(3), truth=np.zeros(5, dtype=int), predicted=np.arange(5) % 3, proba=np.eye(3)[np.arange(5) % 3]
    )
    found = aggregate(sure, np.asarray([0, 0, 0, 1, 1]), "median")
    assert found.proba is not None
    np.testing.assert_allclose(found.proba, [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]])


@pytest.mark.parametrize("how", ["mean", "median", "max"])
def test_probabilities_of_three_classes_sum_to_one(how: str) -> None:
    found = aggregate(five(3), GROUPS, how)
    assert found.proba is not None
    np.testing.assert_allclose(found.proba.sum(axis=1), 1)


def test_a_group_of_two_labels_is_refused_with_both() -> None:
    with pytest.raises(DatasetError, match="is 'b', another of its group 'a'"):
        aggregate(five(), np.zeros(5, dtype=int), "mean")


def test_votes_need_no_scores_and_means_do() -> None:
    bare = replace(five(), scores=None, proba=None)
    assert aggregate(bare, GROUPS, "vote").predicted.tolist() == [0, 0]
    with pytest.raises(ParameterError, match="neither probabilities nor scores"):
        aggregate(bare, GROUPS, "mean")


def test_regressions_are_averaged_and_not_voted_on() -> None:
    values = np.asarray([1.0, 3.0, 2.0, 4.0, 9.0])
    found = Outcomes(
        truth=values,
        predicted=values * 2,
        folds=np.zeros(5, dtype=int),
        units=np.arange(5),
        samples=np.arange(5),
    )
    pooled = aggregate(found, GROUPS, "max")
    assert pooled.truth.tolist() == [2.0, 5.0]
    assert pooled.predicted.tolist() == [6.0, 18.0]
    with pytest.raises(ParameterError, match="no labels to count"):
        aggregate(found, GROUPS, "vote")


def test_an_unknown_way_is_refused_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match="median"):
        aggregate(five(), GROUPS, "medain")


def test_folds_become_one_in_the_order_of_samples() -> None:
    whole = five()
    joined = concatenate([whole.take(np.asarray([0, 1])), whole.take(np.asarray([2, 3, 4]))])
    assert joined.samples.tolist() == [0, 1, 2, 3, 4]
    assert joined.truth.tolist() == [1, 1, 1, 0, 0]


def test_all_groups_of_several_labels_are_counted_and_named_as_the_user_does() -> None:
    given = {
        "truth": np.array([0, 1, 0, 1, 1]),
        "groups": np.array(["Anna", "Anna", "Ben", "Ben", "Cleo"]),
        "classes": np.array(["ill", "well"]),
        "names": [f"t.csv, line {i + 2}" for i in range(5)],
    }
    words = r"2 groups hold samples of several labels \(in 'Anna' t.csv, line 2 is 'ill' and t.csv, line 3 is 'well'\)"
    with pytest.raises(DatasetError, match=words):
        check_one_label("mean", **given)
    given["groups"] = np.array(["Anna", "Anna", "Ben", "Cleo", "Cleo"])
    with pytest.raises(DatasetError, match="1 group holds samples"):
        check_one_label("mean", **given)
    given["groups"] = np.arange(5)
    check_one_label("mean", **given)
