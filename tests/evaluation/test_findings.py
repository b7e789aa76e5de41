"""What folds keep together is no leak, and what they cannot is told; whatever is searched, the same is found."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

import featx
from featx.errors import DatasetError, LeakWarning
from featx.evaluation.near_copies import NearCopies, fold_units
from featx.evaluation.near_leaks import left_apart
from featx.reporting.evidences import evidence_of
from featx.reporting.mistakes import worst_mistakes
from featx.testing import tiny_backbone


def test_near_copies_whose_groups_would_be_too_large_together_are_told() -> None:
    """Clusters of near-copies alone are small here: what is too large is the groups that they tie."""
    groups = np.repeat([0, 1, 2], [40, 40, 20])
    pairs = np.asarray([[0, 40], [50, 90]])
    shown = np.ones(2, dtype=np.float32)
    near = NearCopies(pairs=pairs, similarity=shown, agreement=shown, clusters=np.arange(100))
    units = fold_units(groups, None, near, 100)
    apart = int((units[pairs[:, 0]] != units[pairs[:, 1]]).sum())
    assert apart > 0
    names = [f"{i}.png" for i in range(100)]
    (leak,) = left_apart(near.pairs, units, names=names)
    assert leak.n == apart == len(leak.samples)
    assert left_apart(near.pairs, np.zeros(100, dtype=np.intp), names=names) == ()


FEW: dict[str, Any] = {"n_bootstrap": 100, "at_specificity": None, "at_sensitivity": None}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> featx.Dataset:
    """24 smooth pictures of 12 patients, light ones ill; near-copies of the first in test, of the third with another label."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(3)
    pictures = []
    for i in range(24):
        low = 0 if i < 12 else 120
        coarse = Image.fromarray(rng.integers(low, low + 120, (6, 6, 3), dtype=np.uint8))
        pictures.append(coarse.resize((96, 96), Image.Resampling.BICUBIC))
        pictures[-1].save(folder / f"{i:02}.png")
    for source, place in ((0, 24), (2, 25)):
        pictures[source].save(folder / f"{place}.jpg", quality=90, subsampling=0)
    return featx.Dataset(
        samples=[str(folder / f"{i:02}.png") for i in range(24)]
        + [str(folder / f"{i}.jpg") for i in (24, 25)],
        labels=np.asarray(["well"] * 12 + ["ill"] * 12 + ["well", "ill"]),
        groups=np.asarray([f"Anna {i // 2}" for i in range(24)] + ["Ben", "Anna 1"]),
        split=np.asarray((["train"] * 8 + ["test"] * 4) * 2 + ["test", "train"]),
        name="scans",
        root=str(folder),
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("findings"))


def model(tiny: Path, **parameters: Any) -> Pipeline:
    features = featx.ImageFeatures(tiny, cache=None, device="cpu", **parameters)
    return Pipeline([("features", features), ("head", featx.make_head("logistic"))])


def evaluated(estimator: Any, data: Any, **settings: Any) -> featx.Evaluation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        return featx.evaluate(estimator, data, **FEW, **settings)


def found_in(evaluation: featx.Evaluation) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    return [(leak.kind, leak.samples) for leak in evaluation.leaks]


EXPECTED = [
    ("near-copy across split", ((0, 24),)),
    ("near-copy with another label", ((2, 25),)),
]


def test_searching_taps_finds_the_same_and_keeps_pictures_and_evidence(
    scans: featx.Dataset, tiny: Path, tmp_path: Path
) -> None:
    plain = evaluated(model(tiny), scans)
    assert found_in(plain) == EXPECTED
    grid = {"features__tap": ["pooled", "stage1"]}
    by_grid = evaluated(model(tiny), scans, param_grid=grid)
    by_search = evaluated(GridSearchCV(model(tiny), grid, cv=StratifiedGroupKFold(2)), scans)
    for searched in (by_grid, by_search):
        assert found_in(searched) == EXPECTED
        assert searched.looked_for == plain.looked_for
        assert searched.n_units == plain.n_units
        assert searched.modality == "image"
        assert searched.main.part == "test, only what training has not seen"
        assert len(searched.main.outcomes) == 8
        searched.to_html(tmp_path / "page.html", overwrite=True)
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "No leak found" not in page
        assert "without evidence" not in page
        assert "data:image/jpeg" in page
        mistakes = worst_mistakes(searched.main, None)
        assert set(evidence_of(searched, mistakes).by_sample) == {each.sample for each in mistakes}


def test_unreadable_pictures_are_left_out_of_a_search_too(
    scans: featx.Dataset, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    samples = [*scans.samples, str(tmp_path / "bad.png")]
    found = evaluated(
        model(tiny, on_error="nan"),
        featx.Dataset(samples=samples, labels=np.asarray([*scans.labels, "ill"]), name="", root=""),
        param_grid={"features__tap": ["pooled", "stage1"]},
        cv=2,
    )
    assert (found.n_samples, len(found.skipped)) == (26, 1)


def test_groups_are_named_as_the_user_names_them_and_not_on_pages(
    scans: featx.Dataset, tiny: Path, tmp_path: Path
) -> None:
    split = np.asarray((["train", "test"] * 12) + ["test", "train"])
    found = evaluated(model(tiny), scans, split=split)
    assert "12 groups are in both train and test, for example 'Anna 0'; 'Anna 1'" in str(found.leaks[0])
    (noted,) = found.noted
    assert (noted.kind, noted.n, noted.samples) == ("group with several labels", 1, ((2, 25),))
    found.to_html(tmp_path / "page.html")
    page, plain = (tmp_path / "page.html").read_text(encoding="utf-8"), str(found.to_dict())
    assert "1 group holds samples of several labels" in page
    assert "Anna" not in page + plain
    assert "Anna 0" in str(found.to_dict(show_names=True))
    assert "Anna 0" in found.format_table()


def test_groups_of_several_labels_have_no_prediction_of_their_own(scans: featx.Dataset, tiny: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"1 group holds .*in 'Anna 1' 02.png is 'well' and 25.jpg is 'ill'"
    ):
        evaluated(model(tiny), scans, aggregate="mean")


def test_a_finished_model_is_judged_without_near_copies_of_what_it_knows(
    scans: featx.Dataset, tiny: Path, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        featx.train(scans, out=tmp_path / "model", backbone=tiny, heads=["logistic"], cv=2, cache=None)
    learned = featx.load(tmp_path / "model", cache=None)
    found = evaluated(learned, scans, cv="prefit")
    assert [judgement.part for judgement in found.judgements] == [
        "test, only what training has not seen",
        "test, as given",
        "train, only samples the model was trained on",
    ]
    assert found_in(found)[1:] == EXPECTED
    assert "group across split" in found.looked_for


def test_what_cannot_be_looked_for_is_not_said_to_be(
    scans: featx.Dataset, tiny: Path, tmp_path: Path
) -> None:
    """Of the training data only digests are known: neither its groups nor what its pictures look like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        featx.train(scans, out=tmp_path / "model", backbone=tiny, heads=["logistic"], cv=2, cache=None)
    held = np.flatnonzero(scans.split == "test")
    part = {
        "samples": [scans.samples[i] for i in held.tolist()],
        "labels": scans.labels[held],
        "groups": scans.groups[held],
    }
    for split in (None, np.full(len(held), "test"), np.asarray(["train", "test"])[np.arange(len(held)) % 2]):
        data = featx.Dataset(**part, split=split, name="held out", root=scans.root)
        found = evaluated(featx.load(tmp_path / "model", cache=None), data, cv="prefit")
        assert found.n_trained_on == 0
        assert not [kind for kind in found.looked_for if "split" in kind]
        assert found.leaks == ()
        assert "it remembers samples, not groups" in found.format_table()
        found.to_html(tmp_path / "page.html", overwrite=True)
        assert "it remembers samples, not groups" in (tmp_path / "page.html").read_text(encoding="utf-8")
