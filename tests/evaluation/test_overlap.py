"""A finished model that is judged on what it was trained on is found out, and samples are called new only where that is known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from featx.errors import LeakError, LeakWarning, ParameterError
from featx.evaluation.evaluate import compare, evaluate
from featx.evaluation.overlap import NOTHING_NEW, TRAINED_ON, overlap_leaks, part_names, trained_on
from featx.reporting.evaluations import Evaluation
from featx.store.digest import digest_array, digest_text, keys_array

FEW: dict[str, Any] = {"cv": "prefit", "n_bootstrap": 100}


def noise(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Labels that nobody can know: whoever is right has seen the sample."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)), np.where(np.arange(n) % 2, "ill", "well")


def keys(X: NDArray[np.float64]) -> NDArray[np.uint8]:
    return keys_array(digest_array(row) for row in X)


@pytest.fixture(scope="module")
def old() -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    return noise(80, 0)


@pytest.fixture(scope="module")
def nearest(old: tuple[Any, Any]) -> KNeighborsClassifier:
    """Knows what it was trained on by heart, and nothing else."""
    return KNeighborsClassifier(1).fit(*old)


def judged(model: Any, *parts: tuple[Any, Any], **settings: Any) -> Evaluation:
    X, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    return evaluate(model, X, y, **{**FEW, **settings})


def parts_of(found: Evaluation) -> list[tuple[str, int]]:
    return [(judgement.part, len(judgement.outcomes)) for judgement in found.judgements]


def test_where_all_is_training_nothing_is_called_new(nearest: Any, old: Any) -> None:
    with pytest.warns(
        LeakWarning, match="trained on every one of these 80 samples, for example row 0; row 1; row 2:"
    ):
        found = judged(nearest, old, training_keys=keys(old[0]))
    assert parts_of(found) == [("only samples the model was trained on", 80)]
    assert [(leak.kind, leak.n) for leak in found.leaks] == [(NOTHING_NEW, 80)]
    assert found.n_trained_on == 80
    assert found["accuracy"].value == 1.0
    text = found.format_table()
    assert text.splitlines()[1].startswith("Beware: the model was trained on every one")
    assert text.count("Beware") == 1
    assert "new samples" not in text + repr(found)


def test_what_the_model_knows_is_told_apart_from_the_rest(nearest: Any, old: Any) -> None:
    fresh = noise(60, 1)
    with pytest.warns(LeakWarning, match=r"trained on 80 of these 140 samples, .* the 60 others"):
        found = judged(nearest, fresh, old, training_keys=keys(old[0]))
    assert parts_of(found) == [
        ("only samples the model has not been trained on", 60),
        ("as given", 140),
    ]
    assert [(leak.kind, leak.n) for leak in found.leaks] == [(TRAINED_ON, 80)]
    # 60 coin tosses: 0.5, within four standard deviations of 0.065. With the 80 known by heart: (80 + 30) / 140.
    assert found["accuracy"].value == pytest.approx(0.5, abs=0.26)
    assert found.judgements[1].figures["accuracy"].value > found["accuracy"].value + 0.15
    plain = found.to_dict()
    assert plain["n_trained_on"] == 80
    assert plain["leaks"][0] == {"kind": TRAINED_ON, "n": 80, "rows": [[row] for row in range(60, 140)]}
    assert "row 60" in found.to_dict(show_names=True)["leaks"][0]["message"]


def test_new_samples_are_called_so_where_they_were_compared(nearest: Any, old: Any) -> None:
    fresh = noise(60, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compared = judged(nearest, fresh, training_keys=keys(old[0]))
        unknown = judged(nearest, fresh)
    assert (compared.main.part, compared.n_trained_on, compared.looked_for[0]) == (
        "new samples",
        0,
        TRAINED_ON,
    )
    assert (unknown.main.part, unknown.n_trained_on) == ("as given", None)
    assert TRAINED_ON not in unknown.looked_for
    assert "could not be checked" not in compared.format_table()
    assert unknown.format_table().count("could not be checked") == 1
    assert not compared.is_unchecked
    assert unknown.is_unchecked
    assert unknown.to_dict()["n_trained_on"] is None


def test_samples_without_digests_cannot_be_compared(nearest: Any, old: Any) -> None:
    X, y = old
    found = evaluate(nearest, [tuple(row) for row in X], y, training_keys=keys(X), **FEW)
    assert found.is_unchecked
    assert found.main.part == "as given"


def test_the_rest_of_a_known_group_is_not_new(nearest: Any, old: Any) -> None:
    fresh = noise(60, 1)
    # The first 20 new samples are of patients that the model knows; each patient has one label.
    groups = [
        *(f"old {i % 40}" for i in range(80)),
        *(f"old {i % 40}" for i in range(20)),
        *(f"new {i % 20}" for i in range(40)),
    ]
    with pytest.warns(
        LeakWarning, match=r"80 of these 140 samples.* 20 more belong with one of them.* the 40 others"
    ):
        found = judged(nearest, old, fresh, training_keys=keys(old[0]), groups=groups, aggregate="mean")
    assert parts_of(found) == [
        ("only samples the model has not been trained on", 20),
        ("as given", 60),
        ("only samples the model has not been trained on", 40),
        ("as given", 140),
    ]
    assert found.n_trained_on == 80


def test_where_every_group_is_known_none_is_left_to_judge_by(nearest: Any, old: Any) -> None:
    fresh = noise(20, 1)
    groups = [f"patient {i % 20}" for i in range(100)]
    with pytest.warns(LeakWarning, match="None is left to judge it by"):
        found = judged(nearest, old, fresh, training_keys=keys(old[0]), groups=groups)
    assert parts_of(found) == [("as given, nothing of it new to the model", 100)]


def test_parts_of_a_split_are_told_one_by_one_the_training_part_last(nearest: Any, old: Any) -> None:
    fresh, more = noise(30, 1), noise(30, 2)
    split = ["train"] * 80 + ["val"] * 30 + ["val"] * 20 + ["test"] * 5 + [""] * 5
    with pytest.warns(LeakWarning) as caught:
        found = judged(
            nearest,
            old,
            fresh,
            (old[0][:20], old[1][:20]),
            (more[0][:10], more[1][:10]),
            training_keys=keys(old[0]),
            split=split,
        )
    assert parts_of(found) == [
        ("test", 5),
        ("val, only samples the model has not been trained on", 30),
        ("val, as given", 50),
        ("train, only samples the model was trained on", 80),
    ]
    assert [(leak.kind, leak.n) for leak in found.leaks[:2]] == [(NOTHING_NEW, 80), (TRAINED_ON, 20)]
    assert "every one of these 80 samples of train" in str(caught[0].message)
    assert found.n_trained_on == 100


def test_without_digests_too_the_training_part_of_a_split_is_not_what_is_quoted(
    nearest: Any, old: Any
) -> None:
    found = judged(nearest, old, noise(20, 1), split=["train"] * 80 + ["val"] * 20)
    assert parts_of(found) == [("val", 20), ("train", 80)]


@pytest.mark.parametrize("on_leak", ["group", "warn"])
def test_one_new_sample_of_one_class_is_judged_as_far_as_it_can_be(
    nearest: Any, old: Any, on_leak: str
) -> None:
    X, y = noise(1, 1)
    with pytest.warns(LeakWarning):
        found = judged(nearest, old, (X, y), training_keys=keys(old[0]), on_leak=on_leak)
    assert parts_of(found)[0] == ("only samples the model has not been trained on", 1)
    assert found["accuracy"].value in (0.0, 1.0)
    found.format_table()


def test_it_is_refused_where_leaks_are_to_be(nearest: Any, old: Any) -> None:
    with pytest.raises(LeakError, match="trained on every one"):
        judged(nearest, old, training_keys=keys(old[0]), on_leak="raise")
    judged(nearest, noise(60, 1), training_keys=keys(old[0]), on_leak="raise")


def test_a_regressor_and_several_models_are_found_out_too(old: Any) -> None:
    X, _ = old
    target = X.sum(axis=1)
    models = {"one": Ridge().fit(X, target), "other": Ridge(9.0).fit(X, target)}
    with pytest.warns(LeakWarning, match="every one") as caught:
        found = compare(models, X, target, training_keys=keys(X), **FEW)
    assert len(caught) == 1
    assert [each.main.part for each in found.evaluations] == ["only samples the model was trained on"] * 2


def test_digests_go_with_a_finished_model_only_and_are_digests(nearest: Any, old: Any) -> None:
    X, y = old
    with pytest.raises(ParameterError, match=r"training_keys: .*Leave them out"):
        evaluate("logistic", X, y, training_keys=keys(X))
    for wrong in (X, keys(X)[:, :8], keys(X).tolist(), "model"):
        with pytest.raises(
            ParameterError, match=r"training_keys: expected digests, uint8 of shape \(n, 16\)"
        ):
            evaluate(nearest, X, y, training_keys=wrong, **FEW)


def test_empty_texts_alone_are_no_finding() -> None:
    def of(*texts: str) -> NDArray[np.uint8]:
        return keys_array(map(digest_text, texts))

    known = of("", "a", "b")
    assert trained_on(of("", "c", "a"), known).tolist() == [False, False, True]
    assert trained_on(of("", "b", "a"), known).tolist() == [True, True, True]
    assert trained_on(of("", ""), known).tolist() == [False, False]
    split = np.asarray(["train", "train", "test", "test"])
    assert trained_on(of("", "a", "", "c"), known, split).tolist() == [True, True, False, False]
    assert trained_on(of("", "a"), of()).tolist() == [False, False]


def test_nothing_known_is_no_leak() -> None:
    units = np.arange(3)
    assert overlap_leaks(np.zeros(3, dtype=bool), units, names=["a", "b", "c"]) == ()
    unused = np.asarray(["", "val", "val"])
    assert overlap_leaks(np.asarray([True, False, False]), units, names=["a", "b", "c"], split=unused) == ()


def test_only_what_was_compared_is_new() -> None:
    for part in (None, "val"):
        assert "new" not in part_names(part, n_samples=9, n_trained=None, some_new=True)[0]
        for n_trained in (1, 9):
            for name in part_names(part, n_samples=9, n_trained=n_trained, some_new=n_trained < 9):
                assert name is None or "new" not in name
