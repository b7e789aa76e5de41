"""The head of a network, and the pooled vector that it takes.

From the output back over softmax, flattening and dropout to the last dense layer; what that layer takes is ``pooled``. A network
without such a head ends in its embedding already, and then ``pooled`` is its output.

Whether a last dense layer is a head or part of an embedding (a CLIP projection, a face embedding) no graph says. The rule
here: a softmax or sigmoid behind it makes it a head, and so does an output named after logits, scores or classes; an
output named after embeddings or features makes it none; else widths decide, because embeddings come in multiples of 64 and the
usual label sets (10, 100, 1000, 1001, 21841) do not. Where the rule errs, the tensor before the layer is a tap by its name.
"""

from __future__ import annotations

from collections.abc import Sequence

from featx.backbones.walks import (
    IDENTITIES,
    back_over,
    before_activation,
    is_pointwise,
    layer_input,
    linear_layer,
)
from featx.backbones.wiring import CONVOLUTIONS, Wiring

__all__ = ["find_pooled"]

_SAME_ROWS = IDENTITIES | {"Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_SAME_ROWS |= {"QuantizeLinear", "DequantizeLinear"}
_SCORES = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_ATTENTION_OPS = ("Softmax", "Attention", "MultiHeadAttention")

# What exporters call the outputs of models that end in an embedding, best first.
_EMBEDDING_OUTPUTS = (
    "image_embeds",
    "sentence_embedding",
    "pooler_output",
    "last_hidden_state",
    "token_embeddings",
)
_EXTRA_OUTPUTS = ("hidden_states", "attentions")
_EMBEDDING_WORDS = ("embed", "feature", "hidden", "pool", "repr", "latent", "backbone")
_SCORE_WORDS = ("logit", "prob", "softmax", "class", "score", "predictions")


def find_pooled(wiring: Wiring, outputs: Sequence[str]) -> str | None:
    """The tensor that the head of a network takes, or its output where it has no head.

    Parameters
    ----------
    wiring : Wiring
    outputs : sequence of str
        The graph's outputs.

    Returns
    -------
    str or None
        A vector, a map (SqueezeNet, whose head convolves before it pools) or tokens. None where the graph has several outputs
        that are not known to go together, or class scores that no dense layer makes.
    """
    output = _main_output(wiring, outputs)
    if output is None:
        return None
    tensor, scored = output, False
    while (node := wiring.made_by(tensor)) is not None and node.op_type in _SAME_ROWS | _SCORES:
        scored = scored or node.op_type in _SCORES
        tensor = node.input[0]
    rank = len(wiring.shapes.get(output, ()))
    if scored or _holds_scores(wiring, output):
        taken = _before_dense(wiring, tensor)
        if taken is not None:
            return back_over(wiring, taken, IDENTITIES)
        pooled_last = node is not None and wiring.ends_map(node)
        if rank == 2 and (scored or not pooled_last):
            return None
    if rank == 3 and wiring.stride and not any(node.op_type in _ATTENTION_OPS for node in wiring.nodes):
        return None  # the boxes of a one-stage detector, say
    return output


def _main_output(wiring: Wiring, outputs: Sequence[str]) -> str | None:
    live = [t for t in outputs if wiring.is_activation(t)]
    if len(live) == 1:
        return live[0]
    known = [t for t in _EMBEDDING_OUTPUTS if t in live]
    rest = [t for t in live if t not in known and not t.startswith(_EXTRA_OUTPUTS)]
    if rest:
        # Logits beside hidden states are a classifier. Boxes, masks and auxiliary heads are for the user to say.
        is_classifier = len(rest) == 1 and "logit" in rest[0] and len(wiring.shapes.get(rest[0], ())) == 2
        return rest[0] if is_classifier else None
    trained = [t for t in known if not _is_bert_pooler(wiring, t)]
    return next(iter(trained or known), None)


def _is_bert_pooler(wiring: Wiring, tensor: str) -> bool:
    """A dense layer with tanh on the class token: trained for a task of pretraining only, often not at all."""
    node = wiring.made_by(tensor)
    return node is not None and node.op_type == "Tanh"


def _holds_scores(wiring: Wiring, output: str) -> bool:
    """Whether name or width of an output say that it holds scores of classes."""
    name = output.lower()
    if any(word in name for word in _SCORE_WORDS):
        return True
    if any(word in name for word in _EMBEDDING_WORDS):
        return False
    shape = wiring.shapes.get(output, ())
    if output in wiring.stride:
        width = shape[1 if wiring.layout[output] == "nchw" else -1]
    else:  # the last axis that is not 1, the first being the batch: SqueezeNet's scores are (n, 1000, 1, 1)
        width = next((d for d in shape[:0:-1] if d != 1), None)
    return width is None or width % 64 != 0


def _before_dense(wiring: Wiring, tensor: str) -> str | None:
    """What the dense layer that makes a tensor takes: a vector; of SqueezeNet's kind of head, a map."""
    node = wiring.made_by(tensor)
    if node is not None and wiring.ends_map(node):
        # SqueezeNet: a convolution to the classes, a ReLU, and only then the average.
        layer = linear_layer(wiring, before_activation(wiring, node.input[0]))
    else:
        layer = linear_layer(wiring, tensor)
    if layer is None or (layer.op_type in CONVOLUTIONS and not is_pointwise(wiring, layer)):
        return None
    return layer_input(wiring, layer)
