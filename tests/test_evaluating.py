"""Evaluations by the names of backbones and heads, and of saved models, which are not fooled by their own training samples."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import featx
from featx.artifact import describe
from featx.errors import DatasetError, LeakError, LeakWarning, ParameterError, UnreadableSampleError
from featx.evaluating import evaluate_heads, evaluate_model, read_for
from featx.testing import counted_rows, tiny_backbone, tiny_text_backbone


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> featx.Dataset:
    """Two classes of ten pictures."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 120)):
        (folder / label).mkdir()
        for i in range(10):
            pixels = rng.integers(low, low + 120, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return featx.read_dataset(folder)


def test_names_of_backbones_are_short_where_that_tells_them_apart(
    photos: featx.Dataset, tmp_path: Path
) -> None:
    one, other = tiny_backbone(tmp_path / "a" / "net"), tiny_backbone(tmp_path / "b" / "net", seed=2)
    few = {"cv": 2, "n_bootstrap": 100}
    alone = evaluate_heads(photos, backbones=[one], **few)
    assert [each.name for each in alone.evaluations] == ["net, logistic"]
    both = evaluate_heads(photos, backbones=[one, other], **few)
    assert [each.name for each in both.evaluations] == [f"{one}, logistic", f"{other}, logistic"]
    with pytest.raises(ParameterError, match="given twice"):
        evaluate_heads(photos, backbones=[one, one], **few)


@pytest.mark.parametrize("heads", ["logistic", (), ("svm", "svm"), ("nothing",)])
def test_heads_are_names_each_once(photos: featx.Dataset, tmp_path: Path, heads: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match=r"heads=|unknown head"):
        evaluate_heads(photos, backbones=[tiny_backbone(tmp_path / "net")], heads=heads)


@pytest.mark.filterwarnings("ignore::featx.errors.LeakWarning")  # it is judged on its training samples
def test_a_saved_model_predicts_as_it_does_elsewhere(photos: featx.Dataset, tmp_path: Path) -> None:
    trained = featx.train(
        photos, backbone=tiny_backbone(tmp_path / "net"), heads=("logistic",), out=tmp_path / "model"
    )
    found = evaluate_model(tmp_path / "model", photos, n_bootstrap=100)
    predicted = trained.pipeline.predict(photos.samples)
    assert found["accuracy"].value == np.mean(predicted == photos.labels)
    assert found.name == "model"
    broken = replace(photos, samples=[str(tmp_path / "gone.png"), *photos.samples[1:]])
    with pytest.raises(UnreadableSampleError):
        evaluate_model(tmp_path / "model", broken, n_bootstrap=100)
    left = evaluate_model(tmp_path / "model", broken, n_bootstrap=100, skip_unreadable=True)
    assert (left.n_samples, len(left.skipped)) == (19, 1)


# --- what a model was trained on ---


@pytest.fixture(scope="module")
def model(photos: featx.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the pictures whose names are even."""
    folder = tmp_path_factory.mktemp("model")
    featx.train(
        some(photos, 0), backbone=tiny_backbone(folder / "net"), heads=("logistic",), out=folder / "model"
    )
    return folder / "model"


def some(photos: featx.Dataset, odd: int) -> featx.Dataset:
    """Every other picture."""
    assert photos.labels is not None
    return replace(photos, samples=photos.samples[odd::2], labels=photos.labels[odd::2])


FEW: dict[str, Any] = {"n_bootstrap": 100}


def test_training_samples_under_other_names_are_found(
    model: Path, photos: featx.Dataset, tmp_path: Path
) -> None:
    renamed = [tmp_path / f"{i}.png" for i in range(10)]
    for path, sample in zip(renamed, some(photos, 0).samples, strict=True):
        path.write_bytes(Path(sample).read_bytes())
    data = replace(some(photos, 0), samples=list(map(str, renamed)))
    with pytest.warns(LeakWarning, match="trained on every one of these 10 samples"):
        found = evaluate_model(model, data, **FEW)
    assert found.main.part == "only samples the model was trained on"
    with pytest.raises(LeakError):
        evaluate_model(model, data, on_leak="raise", **FEW)


def test_new_samples_are_new_and_a_mixture_is_told_twice(model: Path, photos: featx.Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = evaluate_model(model, some(photos, 1), **FEW)
    assert (new.main.part, new.n_trained_on) == ("new samples", 0)
    with pytest.warns(LeakWarning, match="trained on 10 of these 20 samples"):
        mixed = evaluate_model(model, photos, **FEW)
    assert [(each.part, len(each.outcomes)) for each in mixed.judgements] == [
        ("only samples the model has not been trained on", 10),
        ("as given", 20),
    ]
    assert mixed["accuracy"].value == new["accuracy"].value


@pytest.mark.parametrize("kind", ["search", "views"])
def test_searches_and_means_over_views_remember_and_show_evidence(
    kind: str, photos: featx.Dataset, tmp_path: Path
) -> None:
    known = some(photos, 0)
    features = featx.ImageFeatures(tiny_backbone(tmp_path / "net"), device="cpu")
    pipeline = Pipeline([("features", features), ("head", featx.make_head("logistic"))])
    fitted = {
        "search": GridSearchCV(pipeline, {"head__logistic__C": [0.1, 1.0]}, cv=2),
        "views": featx.AugmentedClassifier(
            features, pipeline["head"], featx.Augment(horizontal_flip=True), n_views=2, tta=True
        ),
    }[kind].fit(np.asarray(known.samples), known.labels)
    featx.save(fitted, tmp_path / "model", trained_on=known.samples)
    turned = np.asarray(photos.labels)[::-1].copy()  # all of it is a mistake
    with pytest.warns(LeakWarning, match="trained on 10 of these 20 samples"):
        found = evaluate_model(
            tmp_path / "model", replace(photos, labels=turned), skip_unreadable=True, **FEW
        )
    assert found.main.part == "only samples the model has not been trained on"
    found.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The maps are exact" in page
    assert ("from the picture alone" in page) == (kind == "views")
    assert "GridSearchCV" not in found.settings["estimator"]  # what it found is what is judged


def test_a_model_that_remembers_nothing_is_said_to(photos: featx.Dataset, tmp_path: Path) -> None:
    featx.train(
        photos,
        backbone=tiny_backbone(tmp_path / "net"),
        heads=("logistic",),
        out=tmp_path / "model",
        remember_samples=False,
    )
    with pytest.warns(LeakWarning, match="does not remember what it was trained on") as caught:
        found = evaluate_model(tmp_path / "model", photos, **FEW)
    assert len(caught) == 1
    assert found.main.part == "as given"
    assert found.n_trained_on is None


def test_frames_of_one_file_are_samples_of_their_own(tmp_path: Path) -> None:
    """The file was seen in training, the frame was not."""
    rng = np.random.default_rng(0)
    samples = [str(tmp_path / f"{i}.gif") for i in range(6)]
    for sample in samples:
        pages = [Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)) for _ in range(3)]
        pages[0].save(sample, save_all=True, append_images=pages[1:])
    labels = np.asarray(["x", "y"] * 3)
    trained = featx.Dataset(samples=[f"{s}#frame=1" for s in samples], labels=labels, name="frames", root="")
    featx.train(
        trained, backbone=tiny_backbone(tmp_path / "net"), heads=("logistic",), cv=2, out=tmp_path / "model"
    )
    others = replace(trained, samples=[f"{s}#frame=2" for s in samples])
    assert evaluate_model(tmp_path / "model", others, **FEW).n_trained_on == 0
    with pytest.warns(LeakWarning, match="every one"):
        evaluate_model(tmp_path / "model", trained, **FEW)


# --- which column, which labels ---


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of texts that stood in a column ``tweet``, and beside it ``new.csv``, which has a column ``text`` too."""
    folder = tmp_path_factory.mktemp("tweets")
    lines = [
        f"{word} {i},{label}" for i in range(12) for word, label in (("zzz", "asleep"), ("aaa", "awake"))
    ]
    (folder / "old.csv").write_text("\n".join(["tweet,label", *lines]) + "\n", encoding="utf-8")
    dataset = featx.read_dataset(folder / "old.csv", text_column="tweet")
    featx.train(
        dataset, backbone=tiny_text_backbone(folder / "net"), heads=("logistic",), out=folder / "model"
    )
    rows = [f"aaa new {i},zz {i},asleep\nzzz new {i},aa {i},awake" for i in range(8)]
    (folder / "new.csv").write_text("\n".join(["text,tweet,label", *rows]) + "\n", encoding="utf-8")
    return folder


def test_the_column_of_the_training_is_read(tweets: Path) -> None:
    found = evaluate_model(tweets / "model", tweets / "new.csv", **FEW)
    assert found["accuracy"].value == 1.0
    other = read_for(tweets / "model", tweets / "new.csv", text_column="text")
    assert evaluate_model(tweets / "model", other, **FEW)["accuracy"].value == 0.0
    with pytest.warns(LeakWarning, match="old.csv, line 2; old.csv, line 3"):
        evaluate_model(tweets / "model", tweets / "old.csv", **FEW)


def test_another_column_is_never_taken_in_its_place(tweets: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text,label\nzz,asleep\naa,awake\n")
    with pytest.raises(
        DatasetError, match=r"no column 'tweet', which held the samples that the model was trained on; found"
    ):
        evaluate_model(tweets / "model", tmp_path / "new.csv")


def test_samples_of_the_other_kind_are_refused(tweets: Path, model: Path, photos: featx.Dataset) -> None:
    with pytest.raises(DatasetError, match=r"holds images, and .*model takes texts"):
        evaluate_model(tweets / "model", photos)
    with pytest.raises(DatasetError, match=r"holds images, and .*model takes texts"):
        evaluate_model(tweets / "model", photos.root)
    with pytest.raises(DatasetError, match="no column 'file'"):
        evaluate_model(model, tweets / "new.csv")
    with pytest.raises(ParameterError, match="file_column='file': is for images, and the model takes texts"):
        read_for(tweets / "model", tweets / "new.csv", file_column="file")
    with pytest.raises(ParameterError, match="text_column='tweet': is for texts, and the model takes images"):
        read_for(model, tweets / "new.csv", text_column="tweet")


def test_labels_that_the_model_does_not_know_are_named_with_those_that_it_knows(
    model: Path, photos: featx.Dataset
) -> None:
    assert photos.labels is not None
    wrong = replace(
        photos, labels=np.asarray([{"dark": "Dark", "light": "light"}[label] for label in photos.labels])
    )
    with (
        counted_rows() as rows,
        pytest.raises(
            DatasetError,
            match=r"photos.*: has the label\(s\) 'Dark', and .*model knows 'dark', 'light'\. Did you mean 'dark'\?",
        ),
    ):
        evaluate_model(model, wrong)
    assert rows.n == 0  # refused before the work, not after it


def test_labels_that_are_numbers_in_the_model_are_explained(photos: featx.Dataset, tmp_path: Path) -> None:
    assert photos.labels is not None
    pipeline = featx.train(photos, backbone=tiny_backbone(tmp_path / "net"), heads=("logistic",)).pipeline
    codes = (photos.labels == "light").astype(int)
    featx.save(pipeline.fit(photos.samples, codes), tmp_path / "model", labels=["dark", "light"])
    assert describe(tmp_path / "model").classes == (0, 1)
    with pytest.raises(
        DatasetError, match=r"label\(s\) 'dark', 'light', and .* knows 0 \(dark\), 1 \(light\)\."
    ):
        evaluate_model(tmp_path / "model", photos)
    with pytest.raises(DatasetError, match="Labels of a file are text"):
        evaluate_model(tmp_path / "model", replace(photos, labels=codes.astype(str)))


# --- real pictures ---


def test_what_was_held_out_of_a_training_is_what_its_model_does_not_know(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    """With the split forgotten, the figures of the held-out part come back, and those of everything flatter."""
    trained = featx.train(
        data / "hymenoptera_small",
        backbone=weights / "mobilenet_v2",
        heads=("logistic",),
        out=tmp_path / "model",
        cache=tmp_path / "cache",
    )
    with pytest.warns(LeakWarning, match="trained on 245 of these 398 samples"):
        found = evaluate_model(
            tmp_path / "model",
            data / "hymenoptera_small",
            ignore_split=True,
            cache=tmp_path / "cache",
            **FEW,
        )
    unseen, given = found.judgements
    assert (len(unseen.outcomes), len(given.outcomes)) == (153, 398)
    assert unseen.figures["accuracy"].value == pytest.approx(trained.held_out["val"]["accuracy"], abs=1e-12)
    assert given.figures["accuracy"].value > unseen.figures["accuracy"].value + 0.02
