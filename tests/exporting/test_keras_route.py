"""What a user of Keras does: ``model.export("cells/model.onnx", format="onnx")``, and the preprocessing beside it in one line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

from featx import Backbone, ImageFeatures, ImagePreprocess

GRAPHS = Path(__file__).resolve().parents[1] / "backbones" / "graphs.py"


@pytest.fixture(scope="module")
def graphs() -> ModuleType:
    """The makers of small graphs in ``tests/backbones/graphs.py``."""
    spec = importlib.util.spec_from_file_location("featx_test_keras_graphs", GRAPHS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_export_of_keras_is_a_backbone(graphs: ModuleType, tmp_path: Path) -> None:
    model = graphs.keras()
    (height, width), name = (64, 64), model.graph.input[0].name
    onnx.save_model(model, tmp_path / "model.onnx")
    # keras.applications.imagenet_utils.preprocess_input(mode="tf"): pixel / 127.5 - 1
    preprocess = ImagePreprocess(size=(height, width), scale=1 / 127.5, mean=(1, 1, 1), std=(1, 1, 1))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocess.to_config()), encoding="utf-8")

    info = Backbone.open(tmp_path).info
    assert (info.layout, info.input_size, info.fixed_batch) == ("nhwc", (height, width), None)
    pictures = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    found = ImageFeatures(tmp_path, cache=None).fit_transform(pictures)

    pooled = Backbone.open(tmp_path).tap("pooled").tensor
    model.graph.output.append(onnx.ValueInfoProto(name=pooled))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run([pooled], {name: (pictures / 127.5 - 1).astype(np.float32)})[0].reshape(3, -1)
    # float32 roundings of a preprocessing inside the graph; measured below 1e-6
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
