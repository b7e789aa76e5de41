"""What a step is fed: texts filled up, pictures by their shape, views of pictures made anew for every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx import Augment, ImageFeatures
from featx.errors import ParameterError
from featx.finetuning import open_frozen, split_backbone
from featx.finetuning.material import CachedRows, LivePixels, runs_of
from featx.finetuning.preparing import materials
from featx.inference.batching import ImageBatching, TokenBatching
from featx.inference.devices import Device
from featx.testing import tiny_backbone


def test_texts_of_a_batch_are_filled_up_together_with_their_rows() -> None:
    samples = [
        {"tokens": np.arange(t, dtype=np.int32), "boundary_0": np.full((t, 2), t, np.float32)} for t in (3, 1)
    ]
    (run,) = runs_of(samples, ("boundary_0", "tokens"), TokenBatching(64))
    assert run.places.tolist() == [0, 1]
    assert run.inputs[1].tolist() == [[0, 1, 2], [0, -1, -1]]
    assert run.inputs[0][:, :, 0].tolist() == [[3, 3, 3], [1, 0, 0]]


def test_where_a_graph_insists_on_its_batch_samples_run_alone() -> None:
    samples = [{"pixels": np.full((2, 2, 3), at, np.uint8)} for at in (4, 9)]
    runs = runs_of(samples, ("pixels",), ImageBatching(8), fixed_batch=3)
    assert [run.places.tolist() for run in runs] == [[0], [1]]
    assert [run.inputs[0].shape for run in runs] == [(3, 2, 2, 3)] * 2
    assert (runs[1].inputs[0] == 9).all()


@pytest.mark.parametrize("boundary", [None, "stage1"])
def test_every_epoch_sees_a_view_of_its_own_and_validation_the_pictures_as_they_are(
    tmp_path: Path, boundary: str | None
) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
    features = ImageFeatures(str(tiny_backbone(tmp_path / "b")), cache=tmp_path / "store").fit(None)
    split = split_backbone(features.backbone_, features.spaces_[0], boundary)
    training, validation = materials(
        features,
        pictures,
        split,
        features.content_keys(pictures),
        augment=Augment(rotation_range=30),
        seed=3,
        validation=np.asarray([4, 5]),
        verbose=False,
    )
    assert isinstance(training, LivePixels)
    name = "pixels" if boundary is None else "boundary_0"
    first, again, second, plain = (training.take([1, 4], epoch) for epoch in (1, 1, 2, 0))
    for at in (0, 1):
        np.testing.assert_array_equal(first[at][name], again[at][name])
        assert not np.array_equal(first[at][name], second[at][name])
        assert not np.array_equal(first[at][name], plain[at][name])
    judged = validation.take([4], 0)[0][name]
    np.testing.assert_allclose(judged, plain[1][name], atol=1e-5)
    if boundary is None:
        np.testing.assert_array_equal(plain[0]["pixels"], pictures[1])
    else:
        assert isinstance(validation, CachedRows)
        expected = open_frozen(split, Device("cpu")).run(pictures[4][None])[0][0]
        np.testing.assert_allclose(plain[1][name], expected, atol=1e-5)


def test_preprocessing_that_is_a_view_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from featx.backbones.augment import View

    features = ImageFeatures(str(tiny_backbone(tmp_path / "b"))).fit(None)
    pixels = features.backbone_.pixels()
    viewed = ImageFeatures(
        str(tmp_path / "b"), preprocess=replace(pixels, view=View(Augment(horizontal_flip=True), 1, 0))
    ).fit(None)
    split = split_backbone(viewed.backbone_, viewed.spaces_[0], None)
    with pytest.raises(ParameterError, match="names a view already"):
        materials(
            viewed,
            [],
            split,
            np.empty((0, 16), np.uint8),
            augment=None,
            seed=0,
            validation=np.arange(0),
            verbose=False,
        )
