"""``train``: what is learned from, what is held out, what leaks, and what is saved."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline

import featx
from featx import Dataset, training
from featx.artifact import describe, training_keys
from featx.errors import DatasetError, FeatxWarning, LeakWarning
from featx.store.digest import digest_file
from featx.testing import counted_rows, tiny_backbone


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """24 distinct pictures, the first 12 dark."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    paths = [str(folder / f"{i:02}.png") for i in range(24)]
    for i, path in enumerate(paths):
        low = 0 if i < 12 else 120
        Image.fromarray(rng.integers(low, low + 120, (36, 40, 3), dtype=np.uint8)).save(path)
    return paths


LABELS = np.repeat(["dark", "light"], 12)

Learn = Callable[..., featx.training.Training]


@pytest.fixture
def learn(tiny: Path, pictures: list[str]) -> Learn:
    """Train the logistic head on the pictures, or on others of them, with what is known of them."""

    def call(
        samples: list[str] | None = None, *, known: dict[str, Any] | None = None, **parameters: Any
    ) -> Any:
        facts: dict[str, Any] = {"labels": LABELS, **(known or {})}
        facts = {name: None if values is None else np.asarray(values) for name, values in facts.items()}
        dataset = Dataset(samples=samples or pictures, name="mine", root="", **facts)
        return featx.train(dataset, backbone=tiny, **{"heads": ["logistic"], **parameters})

    return call


# --- the order of things ---


def test_the_pipeline_is_fitted_on_the_training_part_only(learn: Learn, pictures: list[str]) -> None:
    split = np.asarray((["train"] * 8 + ["val"] * 2 + ["test"] * 2) * 2)
    result = learn(known={"split": split})
    assert result.n_train == 16
    assert result.comparison.n_samples == 16
    scale = result.pipeline["head"]["scale"]
    assert scale.n_samples_seen_ == 16
    part = np.flatnonzero(split == "val")
    right = result.pipeline.predict([pictures[i] for i in part]) == LABELS[part]
    assert result.held_out["val"]["accuracy"] == right.mean()


def test_every_picture_is_embedded_once_whatever_is_done_with_it(learn: Learn) -> None:
    with counted_rows() as rows:
        result = learn(heads=["logistic", "svm"], search=True, cv=3)
        learn(heads=["xgboost"], cv=4)
    assert rows.n == 24
    assert result.n_computed == 24


def test_nothing_is_embedded_before_everything_is_checked(learn: Learn) -> None:
    with counted_rows() as rows:
        for wrong in ({"cv": 13}, {"heads": ["tree"]}, {"known": {"groups": ["g"] * 24}}):
            with pytest.raises(featx.errors.FeatxError):
                learn(**wrong)
    assert rows.n == 0


def test_the_same_seed_gives_the_same_figures(learn: Learn) -> None:
    def figures(seed: int) -> str:
        result = learn(
            random_state=seed, known={"labels": LABELS[::-1][np.random.default_rng(0).permutation(24)]}
        )
        return json.dumps(
            {k: v for k, v in result.comparison.results[0].mean.to_dict().items() if k != "fit_time_s"}
        )

    assert figures(1) == figures(1)
    assert figures(1) != figures(2)


def test_the_result_is_plain_values(learn: Learn) -> None:
    result = learn(known={"split": ["train"] * 11 + ["val"] + ["train"] * 11 + ["val"]})
    values = json.loads(json.dumps(result.to_dict()))
    assert set(values) == {
        "comparison",
        "held_out",
        "n_train",
        "n_computed",
        "leaks",
        "kept_together_copies",
        "skipped",
        "ignored",
    }
    assert values["comparison"]["best"] == "logistic"


def test_the_saved_pipeline_predicts_what_the_fitted_one_does(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    result = learn(out=tmp_path / "model")
    loaded = featx.load(tmp_path / "model", cache=None)
    np.testing.assert_array_equal(loaded.predict_proba(pictures), result.pipeline.predict_proba(pictures))


def test_the_saved_model_remembers_what_it_was_fitted_on_and_nothing_else(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    samples = [*pictures[:3], str(tmp_path / "bad.png"), *pictures[4:]]
    split = (["train"] * 8 + ["val"] * 2 + [""] * 2) * 2
    with pytest.warns(FeatxWarning, match="in no part of the split"):
        result = learn(
            samples,
            skip_unreadable=True,
            known={"split": split, "groups": [f"patient {i}" for i in range(24)]},
            out=tmp_path / "model",
            cache=None,
        )
    fitted_on = [digest_file(samples[i]) for i in range(24) if split[i] == "train" and i != 3]
    keys = training_keys(tmp_path / "model")
    assert keys is not None
    assert [key.tobytes() for key in keys] == sorted(fitted_on)
    assert result.n_train == len(keys) == 15
    assert not any(
        b"patient" in path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file()
    )


def test_a_model_may_forget_its_samples(learn: Learn, tmp_path: Path) -> None:
    learn(out=tmp_path / "model", remember_samples=False)
    assert describe(tmp_path / "model").n_training_samples is None


def test_unreadable_pictures_are_no_part_of_anything(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    samples = [*pictures[:3], str(tmp_path / "bad.png"), *pictures[4:]]
    result = learn(samples, skip_unreadable=True)
    assert [error.index for error in result.skipped] == [3]
    assert result.n_train == 23
    assert result.to_dict()["skipped"][0]["file"] == str(tmp_path / "bad.png")


def test_a_training_part_that_cannot_be_read_is_an_error(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    for i in range(22):
        (tmp_path / f"{i}.png").write_bytes(b"")
    samples = [pictures[0], *(str(tmp_path / f"{i}.png") for i in range(22)), pictures[-1]]
    split = ["val", *["train"] * 22, "val"]
    with pytest.raises(DatasetError, match="none of the images of its part train could be read"):
        learn(samples, skip_unreadable=True, known={"split": split})


# --- leaks ---


def test_a_clean_split_warns_of_nothing(learn: Learn) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = learn(
            known={"split": (["train"] * 9 + ["val"] * 3) * 2, "groups": [f"g{i}" for i in range(24)]}
        )
    assert result.leaks == ()


def test_groups_on_both_sides_of_the_split_are_reported_before_inference(learn: Learn) -> None:
    known = {"split": (["train"] * 9 + ["val"] * 3) * 2, "groups": [f"p{i % 11}" for i in range(24)]}
    with counted_rows() as rows, warnings.catch_warnings():
        warnings.simplefilter("error", FeatxWarning)
        with pytest.raises(FeatxWarning, match="groups are in both train and val, for example 'p0'"):
            learn(known=known)
    assert rows.n == 0
    with pytest.warns(FeatxWarning, match="are not those of unseen groups"):
        result = learn(known=known)
    assert [leak.kind for leak in result.leaks] == ["group across split"]


def test_an_ignored_split_cannot_leak(learn: Learn) -> None:
    known = {"split": (["train"] * 9 + ["val"] * 3) * 2, "groups": [f"p{i % 11}" for i in range(24)]}
    assert learn(known=known, ignore_split=True, cv=3).leaks == ()


def copied(pictures: list[str], folder: Path, *indices: int) -> list[str]:
    """The pictures, and copies of some under other names."""
    return [*pictures, *(str(shutil.copy(pictures[i], folder / f"copy{i}.png")) for i in indices)]


def test_copies_on_both_sides_of_the_split_are_reported(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    samples = copied(pictures, tmp_path, 0, 13)
    known = {"labels": [*LABELS, "dark", "light"], "split": [*["train"] * 24, "val", "val"]}
    with pytest.warns(
        FeatxWarning, match="2 samples are in both train and val, for example .*00.png and .*copy0.png"
    ):
        result = learn(samples, known=known, out=tmp_path / "model")
    assert [(leak.kind, leak.n) for leak in result.leaks] == [("copy across split", 2)]
    assert "Beware: 2 samples are in both train and val" in (tmp_path / "model" / "README.md").read_text()


def test_copies_with_different_labels_are_reported(learn: Learn, pictures: list[str], tmp_path: Path) -> None:
    samples = copied(pictures, tmp_path, 0)
    with pytest.warns(
        FeatxWarning, match=r"1 sample is there with different labels, .*\('dark'\) and .*\('light'\)"
    ):
        result = learn(samples, known={"labels": [*LABELS, "light"]})
    assert [(leak.kind, leak.n) for leak in result.leaks] == [("copy with another label", 1)]


def test_copies_stay_in_one_fold(
    learn: Learn, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    compare = training.compare_heads

    def watched(*args: Any, **named: Any) -> Any:
        seen.update(named)
        return compare(*args, **named)

    monkeypatch.setattr(training, "compare_heads", watched)
    samples = copied(pictures, tmp_path, 0, 5, 13)
    result = learn(samples, known={"labels": [*LABELS, "dark", "dark", "light"]})
    assert seen["groups"].tolist() == [*range(24), 0, 5, 13]
    assert result.leaks == ()
    assert result.comparison.n_groups is None  # the data knows no groups
    learn()
    assert seen["groups"] is None  # nothing to keep together


def test_copies_that_leave_too_few_pictures_for_the_folds(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    few = [*pictures[:2], *pictures[12:14]] * 5
    with pytest.raises(DatasetError, match=r"only 4 of 20 samples are distinct.*fewer than cv=5"):
        learn(few, known={"labels": ["dark", "dark", "light", "light"] * 5})


def test_copies_in_several_groups_are_kept_together_and_told(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    samples = copied(pictures, tmp_path, 0)
    known = {"labels": [*LABELS, "dark"], "groups": [f"p{i}" for i in range(25)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakWarning)
        result = learn(samples, known=known)
    assert result.leaks == ()
    (kept,) = result.kept
    assert (kept.kind, kept.samples) == ("copy across groups", ((0, 24),))
    assert "('p0')" in str(kept)
    assert str(kept).endswith("kept together in folds.")
    assert result.comparison.n_groups == 25


def again(path: str, folder: Path, *, quality: int = 90) -> str:
    """The picture encoded anew: a near-copy."""
    place = folder / f"again {Path(path).stem}.jpg"
    with Image.open(path) as picture:
        picture.save(place, quality=quality, subsampling=0)
    return str(place)


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    """24 smooth pictures, which stay what they are when they are encoded anew; the first 12 dark."""
    rng = np.random.default_rng(3)
    paths = []
    for i in range(24):
        low = 0 if i < 12 else 120
        coarse = Image.fromarray(rng.integers(low, low + 120, (6, 6, 3), dtype=np.uint8))
        paths.append(str(tmp_path / f"photograph {i:02}.png"))
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def test_near_copies_across_the_split_are_told_with_the_figures_without_them(
    learn: Learn, photographs: list[str], tmp_path: Path
) -> None:
    samples = [*photographs, again(photographs[0], tmp_path), again(photographs[12], tmp_path)]
    split = [*(["train"] * 9 + ["test"] * 3) * 2, "test", "test"]
    with pytest.warns(LeakWarning, match="2 samples of test have near-copies in train"):
        result = learn(
            samples,
            known={"labels": [*LABELS, "dark", "light"], "split": split},
            out=tmp_path / "model",
            cv=3,
        )
    (leak,) = result.leaks
    assert sorted(leak.samples) == [(0, 24), (12, 25)]
    assert list(result.held_out) == ["test, only what training has not seen", "test"]
    right = result.pipeline.predict(samples) == np.asarray([*LABELS, "dark", "light"])
    held = np.flatnonzero(np.asarray(split) == "test")
    assert result.held_out["test"]["accuracy"] == right[held].mean()
    assert result.held_out["test, only what training has not seen"]["accuracy"] == right[held[:-2]].mean()
    readme = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "Beware: 2 samples of test have near-copies in train: the scores" in readme
    assert "'test, only what training has not seen'" in readme
    assert "photograph" not in readme  # names no file


def test_training_and_evaluation_find_the_same_and_make_the_same_folds(
    learn: Learn, photographs: list[str], tiny: Path, tmp_path: Path
) -> None:
    near = [again(photographs[i], tmp_path) for i in (0, 5, 12)]
    samples, labels = [*photographs, *near], np.asarray([*LABELS, "dark", "dark", "dark"])
    groups = np.asarray([f"p{i // 2}" for i in range(24)] + ["p90", "p91", "p92"])
    dataset = Dataset(samples=samples, labels=labels, groups=groups, name="mine", root="")
    with pytest.warns(LeakWarning, match="1 pair of near-copies is there with different labels"):
        result = featx.train(dataset, backbone=tiny, heads=["logistic"], cv=3)
    model = make_pipeline(featx.ImageFeatures(tiny), featx.make_head("logistic"))
    with pytest.warns(LeakWarning):
        found = featx.evaluate(model, dataset, cv=3, n_bootstrap=100)
    assert [(leak.kind, leak.samples) for leak in result.leaks + result.kept] == [
        (leak.kind, leak.samples) for leak in found.leaks + found.kept
    ]
    trained = result.comparison.results[0].proba
    assert found.main.outcomes.proba is not None
    np.testing.assert_allclose(trained, found.main.outcomes.proba, atol=1e-6)  # the same fits, in float32


def test_positions_of_a_leak_are_those_in_the_data_set(
    learn: Learn, pictures: list[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    samples = copied([str(tmp_path / "bad.png"), *pictures[1:]], tmp_path, 1)
    with pytest.warns(LeakWarning):
        result = learn(samples, skip_unreadable=True, known={"labels": [*LABELS, "light"]})
    assert result.leaks[0].samples == ((1, 24),)
    assert result.to_dict()["leaks"][0]["rows"] == [[1, 24]]
