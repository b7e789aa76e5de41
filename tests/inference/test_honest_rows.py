"""No row is stored that is not the vector of this sample under this backbone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from featx import Backbone, EmbeddingStore, ImageFeatures
from featx.errors import DigestMismatchError, FeatxWarning, SampleError
from featx.inference import extract as extract_module
from featx.inference.runtime import session_pool
from featx.store.store import EmbeddingStore as Store
from featx.testing import counted_rows, tiny_backbone

PIXELS = list(np.random.default_rng(2).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def _no_open_sessions() -> None:
    session_pool().clear()


def n_stored(cache: Path) -> int:
    return sum(s.n_rows for s in EmbeddingStore(cache).spaces() if "space" in (s.description or {}))


def with_sqrt(folder: Path) -> Path:
    """A backbone whose vectors are not finite for dark pictures."""
    tiny_backbone(folder)
    model = onnx.load(folder / "model.onnx")
    nodes = list(model.graph.node)
    at = next(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    # sqrt of the normalised pixels: NaN wherever a pixel is below the mean
    nodes.insert(at, helper.make_node("Sqrt", ["pixel_values"], ["rooted"]))
    nodes[at + 1].input[0] = "rooted"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_weights_replaced_between_opening_and_the_session_are_refused(tmp_path: Path) -> None:
    home, other = tiny_backbone(tmp_path / "one"), tiny_backbone(tmp_path / "two", seed=1)
    features = ImageFeatures(Backbone.open(home), cache=tmp_path / "cache").fit(None)
    shutil.copy(other / "model.onnx", home / "model.onnx")
    with pytest.raises(DigestMismatchError, match="changed since it was opened"):
        features.transform(PIXELS)
    assert n_stored(tmp_path / "cache") == 0
    # Nor does the refused session serve a correct copy of the backbone.
    copy = tiny_backbone(tmp_path / "copy")
    expected = ImageFeatures(copy, cache=None).fit_transform(PIXELS)
    np.testing.assert_array_equal(
        ImageFeatures(copy, cache=tmp_path / "cache").fit_transform(PIXELS), expected
    )


def test_a_graph_replaced_before_it_is_described_is_refused(tmp_path: Path) -> None:
    home = tiny_backbone(tmp_path / "one", seed=21)
    backbone = Backbone.open(home)
    tiny_backbone(home, seed=22)
    with pytest.raises(DigestMismatchError):
        _ = backbone.info


def test_rows_that_are_not_finite_are_failures_and_not_stored(tmp_path: Path) -> None:
    bright = [np.full((32, 32, 3), 200 + i, dtype=np.uint8) for i in range(5)]
    dark = np.zeros((32, 32, 3), dtype=np.uint8)
    features = ImageFeatures(with_sqrt(tmp_path / "b"), cache=tmp_path / "cache").fit(None)
    with pytest.raises(SampleError, match=r"index 2\): the network's vector is not finite"):
        features.transform([*bright[:2], dark, *bright[2:]])
    features.set_params(on_error="nan")
    with pytest.warns(FeatxWarning, match="not finite"):
        vectors = features.transform([*bright[:2], dark, *bright[2:]])
    assert np.isnan(vectors[2]).all()
    assert np.isfinite(np.delete(vectors, 2, axis=0)).all()
    assert n_stored(tmp_path / "cache") == len(bright)


def test_a_picture_the_network_cannot_take_names_itself(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "b", size_px=32)
    model = onnx.load(folder / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        for edge in list(value.type.tensor_type.shape.dim)[2:]:
            edge.dim_param = "edge"
    for node in model.graph.node:
        if node.op_type == "Conv":
            pads = next(a for a in node.attribute if a.name == "pads")
            pads.CopyFrom(helper.make_attribute("pads", [0, 0, 0, 0]))
    onnx.save(model, folder / "model.onnx")
    features = ImageFeatures(
        folder,
        preprocess={
            "do_resize": False,
            "do_center_crop": False,
            "image_mean": [0, 0, 0],
            "image_std": [1, 1, 1],
        },
        cache=None,
    ).fit(None)
    pictures = [PIXELS[0], np.zeros((1, 1, 3), dtype=np.uint8), PIXELS[1]]
    with pytest.raises(SampleError, match="index 1"):
        features.transform(pictures)
    with pytest.warns(FeatxWarning, match=r"1 sample\(s\)"):
        vectors = features.set_params(on_error="nan").transform(pictures)
    assert np.isnan(vectors[1]).all()
    assert np.isfinite(vectors[[0, 2]]).all()


def test_a_claim_whose_owner_stands_still_is_worked_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "_PATIENCE_S", 0.2)
    features = ImageFeatures(tiny_backbone(tmp_path / "b"), cache=tmp_path / "cache").fit(None)
    extraction = ImageFeatures(tmp_path / "b", cache=None).fit(None).extract(PIXELS)
    with (
        Store(tmp_path / "cache").claim(features.spaces_[0].id, extraction.keys[:10]),
        counted_rows() as rows,
    ):
        with pytest.warns(FeatxWarning, match="was it stopped"):
            vectors = features.transform(PIXELS)
        assert rows.n == len(PIXELS)
    np.testing.assert_array_equal(vectors, extraction.vectors)


def test_taps_whose_names_read_alike_get_columns_of_their_own(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "b")
    model = onnx.load(folder / "model.onnx")
    text = {"relu1": "a.1", "relu2": "a_1"}
    for node in model.graph.node:
        node.input[:] = [text.get(name, name) for name in node.input]
        node.output[:] = [text.get(name, name) for name in node.output]
    onnx.save(model, folder / "model.onnx")
    names = ImageFeatures(folder, tap=["a.1", "a_1"], cache=None).fit(None).get_feature_names_out()
    assert len(set(names)) == len(names)


def test_a_hub_snapshot_of_links_with_external_weights_opens(tmp_path: Path) -> None:
    # huggingface_hub keeps the files as blobs and makes the snapshot of links to them.
    plain, blobs, snapshot = tmp_path / "plain", tmp_path / "blobs", tmp_path / "snapshot"
    tiny_backbone(plain, channels=(8, 32, 64))
    model = onnx.load(plain / "model.onnx")
    expected = ImageFeatures(plain, cache=None).fit_transform(PIXELS)
    blobs.mkdir()
    snapshot.mkdir()
    onnx.save(
        model, blobs / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    for at, name in enumerate(("model.onnx", "model.onnx_data")):
        (blobs / name).rename(blobs / f"sha{at}")
        (snapshot / name).symlink_to(blobs / f"sha{at}")
    shutil.copy(plain / "preprocessor_config.json", snapshot)
    np.testing.assert_array_equal(ImageFeatures(snapshot, cache=None).fit_transform(PIXELS), expected)
    data = bytearray((blobs / "sha1").read_bytes())
    data[-8] ^= 0x3F
    (blobs / "sha1").write_bytes(data)
    assert (
        ImageFeatures(snapshot, cache=None).fit(None).spaces_
        != ImageFeatures(plain, cache=None).fit(None).spaces_
    )
