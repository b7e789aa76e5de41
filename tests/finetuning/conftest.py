"""One-node graphs compared with ONNX Runtime, and the backbones that other tests fill and export."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

torch = pytest.importorskip("torch")

from featx import FineTuneClassifier  # noqa: E402
from featx.finetuning.graph_module import GraphModule  # noqa: E402  # it needs torch
from featx.testing import tiny_backbone  # noqa: E402
from featx.testing_texts import tiny_text_backbone  # noqa: E402

TESTS = Path(__file__).resolve().parent.parent


def _conftest(of: str) -> ModuleType:
    name = f"featx_{of}_fixtures"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / of / "conftest.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


filled = _conftest("backbones").filled  # the skeletons, with seeded weights
graphs = _conftest("backbones").graphs  # the makers of small graphs


@pytest.fixture(scope="session")
def families() -> ModuleType:
    """``tests/exporting/conftest.py``: tiny seeded checkpoints; skips without transformers."""
    return _conftest("exporting")


@pytest.fixture(scope="session")
def tiny_family(families: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a family's name to its folder, exported by torch through featx; ``"clip text"`` is CLIP's other tower."""
    from featx import export_backbone

    root = tmp_path_factory.mktemp("families")
    checkpoint = families.checkpoint.__wrapped__(tmp_path_factory)

    def make(name: str) -> Path:
        folder = root / name.replace(" ", "-")
        if not folder.is_dir():
            kind, _, modality = name.partition(" ")
            export_backbone(str(checkpoint(kind)), folder, modality=modality or None)
        return folder

    return make


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """For networks this small, threads that wait for work take more of a busy machine than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _run_onnx(model: onnx.ModelProto, feeds: dict[str, Any], external: Any = None) -> list[Any]:
    """A model's outputs by ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    files = external or {}
    if files:
        sizes = [file.size for file in files.values()]
        options.add_external_initializers_from_files_in_memory(list(files), list(files.values()), sizes)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs: list[Any] = session.run(None, feeds)
    return outputs


@pytest.fixture
def run_onnx() -> Callable[..., list[Any]]:
    """A function from a model, its feeds and its external files to its outputs by ONNX Runtime."""
    return _run_onnx


def one_node(
    op: str, arrays: Sequence[NDArray[Any] | None], fed: int, opset: int, n_outputs: int, attributes: Any
) -> onnx.ModelProto:
    """A graph of one node, the first ``fed`` of its inputs fed and the others initialisers."""
    names = ["" if array is None else f"in{i}" for i, array in enumerate(arrays)]
    outputs = [f"out{i}" for i in range(n_outputs)]
    given = [(name, array) for name, array in zip(names, arrays, strict=True) if array is not None]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in given[:fed]
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(a, n) for n, a in given[fed:]],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture
def agrees() -> Callable[..., None]:
    """Assert that an operator gives in torch what it gives in ONNX Runtime, with constant further inputs and with fed ones."""

    def check(
        op: str,
        *arrays: NDArray[Any] | None,
        opset: int = 18,
        n_outputs: int = 1,
        tolerance: float = 1e-5,
        **attributes: Any,
    ) -> None:
        n_given = sum(array is not None for array in arrays)
        for fed in sorted({1, n_given}):
            model = one_node(op, arrays, fed, opset, n_outputs, attributes)
            feeds = {f"in{i}": a for i, a in enumerate(arrays) if a is not None}
            names = [value.name for value in model.graph.input]
            expected = _run_onnx(model, {name: feeds[name] for name in names})
            module = GraphModule(model, trainable=())
            for _ in range(2):  # the second time from what was kept by shape
                found = module(*(torch.tensor(feeds[name]) for name in names))
                for one, other in zip(found, expected, strict=True):
                    assert tuple(one.shape) == other.shape
                    assert one.numpy().dtype == other.dtype
                    np.testing.assert_allclose(
                        one.numpy(),
                        other,
                        rtol=tolerance,
                        atol=tolerance * np.abs(_finite(other)).max(initial=1e-30),
                    )

    return check


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    return numbers[np.isfinite(numbers)]


# --- for the classifier ---

CLASSES = np.asarray(["ant", "bee", "wasp"])


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait take more than networks this small


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_backbone(tmp_path_factory.mktemp("tiny"), channels=(6, 8, 8, 12)))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_text_backbone(tmp_path_factory.mktemp("texts")))


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Noise, one channel of which is brighter by class."""
    found = np.random.default_rng(0).integers(0, 236, (48, 36, 36, 3), dtype=np.uint8)
    for at, picture in enumerate(found):
        picture[:, :, at % 3] += 20
    return list(found)


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return CLASSES[np.arange(48) % 3]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    words = ("abcdefg ", "cdefghi ", "xyz0123 ")
    return ["a" + "".join(rng.choice(list(words[at % 3]), rng.integers(2, 25))) for at in range(48)]


def _tuner(backbone: Any, **given: Any) -> FineTuneClassifier:
    defaults: dict[str, Any] = {
        "epochs": 3,
        "learning_rate": 3e-3,
        "batch_size": 8,
        "precision": "float32",
        "checkpoints": None,
        "validation_fraction": None,  # the tuned network is kept, whatever it is worth
    }
    return FineTuneClassifier(backbone, **{**defaults, **given})


@pytest.fixture
def tuner(one_core: None) -> Callable[..., FineTuneClassifier]:
    """A function from a backbone and parameters to a classifier that is fitted in a moment."""
    return _tuner
