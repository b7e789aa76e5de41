"""Encoders of the BERT family as ONNX graphs, from ``config.json`` and ``model.safetensors``, without torch.

Owns the mathematics of these encoders. The same files always give the same bytes.

The form is the one that ONNX Runtime ran fastest on a CPU (``benchmarks/encoder_forms.py``), in ONNX's own operators: three
products for query, key and value rather than one that is split afterwards, weights stored the way the products take them, and
no additions that fold into weights (token type 0, the scale of attention, the biases of key and value). The runtime's own fused
operators were slower (SkipLayerNormalization), no faster (Attention, MultiHeadAttention), or are not on CUDA in every version
that featx runs on (Attention of opset 23).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.bert_checkpoint import ACTIVATIONS, CONFIG_NAME, Encoder, Weights, read_config
from featx.errors import BackboneError

__all__ = ["build_encoder", "check_family"]

_OPSET = 20  # the first with Gelu
_IR = 9
_MOST_BYTES = 2**31 - 2**22  # of a protobuf message; what is left is for vectors and names

# A score of this size is no score: its exponential is 0. Where every token is masked, equal sums remain, and no NaN.
_MASKED = float(np.finfo(np.float32).min)

# transformers, MPNetEncoder.relative_position_bucket: buckets of both directions, and where the last one begins.
_N_BUCKETS, _FAR = 32, 128


def check_family(folder: Path) -> None:
    """Refuse a folder whose ``config.json`` describes anything that is not built here; needs no weights.

    Raises
    ------
    BackboneNotFoundError, BackboneError
        As :func:`build_encoder` does for a configuration.
    """
    _refuse_too_large(Path(folder), read_config(Path(folder)))


def build_encoder(folder: Path) -> onnx.ModelProto:
    """The encoder in a folder, as transformers saves it, as an ONNX graph.

    Parameters
    ----------
    folder : Path
        With ``config.json`` and ``model.safetensors`` of BERT, DistilBERT, RoBERTa, XLM-RoBERTa, CamemBERT or MPNet. Names may
        have a prefix (``bert.``), poolers and heads are left out, float16 and bfloat16 become float32.

    Returns
    -------
    ModelProto
        Inputs ``input_ids`` and ``attention_mask`` (1 for tokens, 0 for padding), int64 (n, t); output ``last_hidden_state``
        float32 (n, t, d), of no meaning behind a row's end. Every token is of type 0. Layers end in the tensors ``layer1``,
        ``layer2``..., the last one in the output.

    Raises
    ------
    BackboneNotFoundError
        A file is missing.
    BackboneError
        Another family; a key of the configuration is missing, or says what is not computed here; a tensor is
        missing or of another shape; or the graph would take more than the 2 GB that one ONNX file holds.
    """
    folder = Path(folder)
    encoder = read_config(folder)
    _refuse_too_large(folder, encoder)
    weights = Weights.of(folder)
    weights.refuse_layer(encoder.family.layer.format(encoder.n_layers))
    graph = _Graph(weights, encoder)
    mask = graph.score_mask()
    x = graph.embeddings()
    for i in range(encoder.n_layers):
        x = graph.layer(i, x, mask, out="last_hidden_state" if i + 1 == encoder.n_layers else f"layer{i + 1}")
    return graph.model()


def _refuse_too_large(folder: Path, encoder: Encoder) -> None:
    if encoder.n_bytes > _MOST_BYTES:
        raise BackboneError(
            f"{folder / CONFIG_NAME}: the encoder takes {encoder.n_bytes / 1e9:.1f} GB as float32, and one ONNX file holds 2 GB. "
            "Take an ONNX file of this model that has external data (hub:owner/name), or a smaller model."
        )


@dataclass(slots=True)
class _Graph:
    """Writes an encoder node by node; methods return the name of the tensor they made."""

    weights: Weights
    encoder: Encoder
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    named: set[str] = field(default_factory=set)

    def op(self, kind: str, inputs: Sequence[str], out: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def constant(self, name: str, values: ArrayLike, dtype: Any = np.float32) -> str:
        if name not in self.named:
            self.named.add(name)
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def scalar(self, name: str, value: float, dtype: Any = np.float32) -> str:
        return self.constant(name, np.array(value, dtype), dtype)

    # Parts

    def embeddings(self) -> str:
        """Words, positions and token type 0, normalised: (n, t, d)."""
        e, prefix = self.encoder, "embeddings."
        shapes = {
            "word_embeddings.weight": (e.n_words, e.width),
            "position_embeddings.weight": (e.n_positions, e.width),
        }
        if e.n_token_types:
            shapes["token_type_embeddings.weight"] = (e.n_token_types, e.width)
        tables = self.weights.read({prefix + name: shape for name, shape in shapes.items()})
        places = tables[prefix + "position_embeddings.weight"]
        if e.n_token_types:
            places = places + tables[prefix + "token_type_embeddings.weight"][0]
        words = self.constant("word_embeddings", tables[prefix + "word_embeddings.weight"])
        x = self.op("Gather", [words, "input_ids"], "embeddings/words")
        x = self.op("Add", [x, self._positions(places)], "embeddings/sum")
        return self.norm(x, "embeddings.LayerNorm", "embeddings")

    def _positions(self, table: NDArray[np.float32]) -> str:
        """The rows of a table at the tokens' positions: (t, d), or (n, t, d) where padding has a position of its own."""
        places = self.constant("position_embeddings", table)
        if not self.encoder.family.counts_positions:
            length = self.op("Shape", ["input_ids"], "embeddings/length", start=1)
            return self.op(
                "Slice", [places, self.constant("from", [0], np.int64), length], "embeddings/positions"
            )
        # transformers, create_position_ids_from_input_ids
        padding = self.scalar("padding_id", self.encoder.padding_id, np.int64)
        is_padding = self.op("Equal", ["input_ids", padding], "embeddings/is_padding")
        tokens = self.op("Not", [is_padding], "embeddings/is_token")
        tokens = self.op("Cast", [tokens], "embeddings/tokens", to=TensorProto.INT64)
        count = self.op("CumSum", [tokens, self.scalar("axis_1", 1, np.int64)], "embeddings/count")
        count = self.op("Mul", [count, tokens], "embeddings/count_of_tokens")
        return self.op(
            "Gather", [places, self.op("Add", [count, padding], "embeddings/at")], "embeddings/positions"
        )

    def score_mask(self) -> str:
        """What is added to attention scores: (n, 1, 1, t), or (n, heads, t, t) where distances count."""
        mask = self.op("Cast", ["attention_mask"], "mask/tokens", to=TensorProto.FLOAT)
        mask = self.op("Sub", [self.scalar("one", 1), mask], "mask/padding")
        mask = self.op("Mul", [mask, self.scalar("masked", _MASKED)], "mask/scores")
        mask = self.op("Unsqueeze", [mask, self.constant("axes_1_2", [1, 2], np.int64)], "mask")
        if self.encoder.family.relative is None:
            return mask
        return self.op(
            "Add", [mask, self._distance_scores(self.encoder.family.relative)], "mask/with_distances"
        )

    def _distance_scores(self, name: str) -> str:
        """Learned scores of distances between tokens: (heads, t, t)."""
        n = self.encoder.n_positions
        learned = self.weights.read({name: (_N_BUCKETS, self.encoder.n_heads)})[name]
        table = self.constant("distances", learned[[_bucket(distance) for distance in range(1 - n, n)]])
        length = self.op("Shape", ["input_ids"], "distances/shape", start=1)
        length = self.op("Squeeze", [length], "distances/length")
        at = self.op(
            "Range",
            [self.scalar("zero", 0, np.int64), length, self.scalar("step", 1, np.int64)],
            "distances/at",
        )
        rows = self.op("Unsqueeze", [at, self.constant("axis_last", [1], np.int64)], "distances/rows")
        found = self.op("Sub", [at, rows], "distances/from_to")
        found = self.op("Add", [found, self.scalar("longest", n - 1, np.int64)], "distances/found")
        found = self.op("Gather", [table, found], "distances/values")
        return self.op("Transpose", [found], "distances/scores", perm=[2, 0, 1])

    def layer(self, i: int, x: str, mask: str, *, out: str) -> str:
        """One encoder layer (Devlin et al. 2019): attention and a feed-forward part, each with a sum and a norm behind it."""
        e, f, name = self.encoder, self.encoder.family, f"layer{i + 1}"
        stored = f.layer.format(i)
        square, wide = (e.width, e.width), (e.inner, e.width)
        shapes = {f.query: square, f.key: square, f.value: square, f.attended: square}
        shapes |= {f.widened: wide, f.narrowed: wide[::-1]}
        vectors = {stored + part + ".bias": shape[:1] for part, shape in shapes.items() if part != f.key}
        read = self.weights.read(vectors | {stored + part + ".weight": s for part, s in shapes.items()})
        weight = {part: read[stored + part + ".weight"].T for part in shapes}
        bias = {part: read[stored + part + ".bias"] for part in shapes if part != f.key}

        scale = np.float32(np.sqrt(e.width // e.n_heads))
        query = self.dense(x, weight[f.query] / scale, bias[f.query] / scale, f"{name}/query")
        # A bias of the keys adds one number to all scores of a query, which softmax takes away again. One of the values goes
        # through the weighted mean as it is, since the weights sum to 1, and joins the bias behind.
        key = self.dense(x, weight[f.key], None, f"{name}/key")
        value = self.dense(x, weight[f.value], None, f"{name}/value")
        behind = bias[f.attended] + _product(bias[f.value], weight[f.attended])

        query = self._heads(query, [0, 2, 1, 3])  # (n, heads, t, d / heads)
        key = self._heads(key, [0, 2, 3, 1])  # (n, heads, d / heads, t)
        value = self._heads(value, [0, 2, 1, 3])
        scores = self.op("MatMul", [query, key], f"{name}/scores")
        scores = self.op("Add", [scores, mask], f"{name}/masked_scores")
        shares = self.op("Softmax", [scores], f"{name}/shares", axis=-1)
        mean = self.op("MatMul", [shares, value], f"{name}/means")
        mean = self.op("Transpose", [mean], f"{name}/means_by_token", perm=[0, 2, 1, 3])
        mean = self.op(
            "Reshape", [mean, self.constant("joined", [0, 0, e.width], np.int64)], f"{name}/means_joined"
        )

        y = self.dense(mean, weight[f.attended], behind, f"{name}/attention")
        y = self.op("Add", [y, x], f"{name}/attention/residual")
        x = self.norm(y, stored + f.attended_norm, f"{name}/attention/norm")
        y = self.dense(x, weight[f.widened], bias[f.widened], f"{name}/inner")
        kind, attributes = ACTIVATIONS[e.activation]
        y = self.op(kind, [y], f"{name}/inner/activation", **attributes)
        y = self.dense(y, weight[f.narrowed], bias[f.narrowed], f"{name}/outer")
        y = self.op("Add", [y, x], f"{name}/outer/residual")
        return self.norm(y, stored + f.narrowed_norm, out)

    def _heads(self, x: str, order: list[int]) -> str:
        e = self.encoder
        shape = self.constant("heads", [0, 0, e.n_heads, e.width // e.n_heads], np.int64)
        x = self.op("Reshape", [x, shape], f"{x}/split")
        return self.op("Transpose", [x], f"{x}/by_head", perm=order)

    def dense(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, name: str) -> str:
        """``x @ weight + bias``; weight (in, out)."""
        matrix = self.constant(f"{name}.weight", weight)
        if bias is None:
            return self.op("MatMul", [x, matrix], name)
        product = self.op("MatMul", [x, matrix], f"{name}/product")
        return self.op("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def norm(self, x: str, stored: str, out: str) -> str:
        shape = (self.encoder.width,)
        read = self.weights.read({f"{stored}.weight": shape, f"{stored}.bias": shape})
        vectors = [self.constant(name, values) for name, values in read.items()]
        return self.op("LayerNormalization", [x, *vectors], out, axis=-1, epsilon=self.encoder.epsilon)

    def model(self) -> onnx.ModelProto:
        # No version of featx: it would change the digest of a graph that has not changed.
        model = onnx.ModelProto(ir_version=_IR, producer_name="featx")
        model.opset_import.append(helper.make_opsetid("", _OPSET))
        graph = model.graph
        graph.name = "encoder"
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.constants)
        for name in ("input_ids", "attention_mask"):
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]))
        shape: list[str | int | None] = ["n", "t", self.encoder.width]
        graph.output.append(helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape))
        return model


def _product(vector: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vector @ matrix``, summed in one order on every machine: a BLAS would choose, and the digest of the graph with it."""
    total = np.zeros(matrix.shape[1])
    for number, row in zip(vector.tolist(), matrix, strict=True):
        total += number * row.astype(np.float64)
    return total.astype(np.float32)


def _bucket(distance: int) -> int:
    """The bucket of a distance: each of the near ones has its own, farther ones share them in logarithmic steps.

    In whole numbers, so that no machine's logarithm decides. Agrees with transformers' float32 for every distance.
    """
    direction = _N_BUCKETS // 2
    near = direction // 2
    steps, far = direction - near, abs(distance)
    bucket = far
    if far >= near:
        # log(far / near) / log(FAR / near) * steps >= step, without logarithms
        reached = (far**steps * near**step >= _FAR**step * near**steps for step in range(1, steps))
        bucket = near + sum(reached)
    return bucket + direction * (distance > 0)
