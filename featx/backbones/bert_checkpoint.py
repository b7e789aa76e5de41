"""What ``config.json`` and ``model.safetensors`` say of an encoder of the BERT family.

Owns the keys and the names under which transformers keeps these encoders. Refuses by its key whatever a configuration says that
``bert.py`` does not compute, and tensors that are missing or of another shape than the configuration says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.safetensors_file import read_weights, weight_shapes
from featx.errors import BackboneError, BackboneNotFoundError, did_you_mean

__all__ = [
    "ACTIVATIONS",
    "CONFIG_NAME",
    "FAMILIES",
    "WEIGHTS_NAME",
    "Encoder",
    "Family",
    "Weights",
    "read_config",
]

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
_LARGEST_COUNT = 2**62
_WORDS = "embeddings.word_embeddings.weight"

# transformers, activations.py, ACT2CLS: the names, and which of them are one function.
_TANH_GELUS = ("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh")
ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {}),
    "gelu_python": ("Gelu", {}),
    **{name: ("Gelu", {"approximate": "tanh"}) for name in _TANH_GELUS},
    "relu": ("Relu", {}),
}

# Keys of a configuration that change what is computed, with the only value that is computed here.
_FIXED: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "relative_attention_num_buckets": 32,
    "pruned_heads": {},
    "quantization_config": {},
}


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family keeps what an encoder needs: keys of its configuration, names of its weights, its positions."""

    width: str = "hidden_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    inner: str = "intermediate_size"
    activation: str = "hidden_act"
    epsilon: str | None = "layer_norm_eps"  # None: always 1e-12
    layer: str = "encoder.layer.{}."
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attended: str = "attention.output.dense"
    attended_norm: str = "attention.output.LayerNorm"
    widened: str = "intermediate.dense"
    narrowed: str = "output.dense"
    narrowed_norm: str = "output.LayerNorm"
    token_types: bool = True
    counts_positions: bool = False  # from behind the padding id, over the tokens that are none
    padding_key: str | None = "pad_token_id"  # None: always 1
    relative: str | None = None  # learned biases of distances


_BERT = Family()
_ROBERTA = replace(_BERT, counts_positions=True)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "camembert": _ROBERTA,
    "distilbert": Family(
        width="dim",
        layers="n_layers",
        heads="n_heads",
        inner="hidden_dim",
        activation="activation",
        epsilon=None,
        layer="transformer.layer.{}.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attended="attention.out_lin",
        attended_norm="sa_layer_norm",
        widened="ffn.lin1",
        narrowed="ffn.lin2",
        narrowed_norm="output_layer_norm",
        token_types=False,
    ),
    "mpnet": replace(
        _BERT,
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attended="attention.attn.o",
        attended_norm="attention.LayerNorm",
        token_types=False,
        counts_positions=True,
        padding_key=None,
        relative="encoder.relative_attention_bias.weight",
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""Families by the ``model_type`` of their configuration, as transformers 5 lays them out."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """What a configuration says of an encoder.

    Attributes
    ----------
    family : Family
    width, inner : int
        Features of a token, and of a token inside the feed-forward part of a layer.
    n_layers, n_heads : int
    n_words, n_positions, n_token_types : int
        Rows of the embedding tables; 0 where a family has no types.
    activation : str
        A key of ``ACTIVATIONS``.
    epsilon : float
        Added to the variance by every norm.
    padding_id : int
        The token that positions are not counted over, in families that count them.
    """

    family: Family
    width: int
    n_layers: int
    n_heads: int
    inner: int
    n_words: int
    n_positions: int
    n_token_types: int
    activation: str
    epsilon: float
    padding_id: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the matrices as float32; the rest is less than a thousandth of them."""
        layer = 4 * self.width**2 + 2 * self.width * self.inner
        return 4 * ((self.n_words + self.n_positions) * self.width + self.n_layers * layer)


# --- config.json ---


def read_config(folder: Path) -> Encoder:
    """The encoder that a folder's ``config.json`` describes.

    Raises
    ------
    BackboneNotFoundError
        There is no such file.
    BackboneError
        It describes another family, lacks a key, or says what ``bert.py`` does not compute.
    """
    path = folder / CONFIG_NAME
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BackboneNotFoundError(
            f"{path}: missing. The encoder is built from {CONFIG_NAME} and {WEIGHTS_NAME}: put both into one folder."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path}: not readable as JSON ({error}). Fetch it again.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BackboneError(
            f"{path}: model_type is {kind!r}, and featx builds {known}. Take an ONNX file of this model instead: its "
            "publisher's, or one made by featx backbones export."
        )
    _refuse_other_mathematics(path, config)
    family = FAMILIES[kind]
    width, n_heads = _count(path, config, family.width), _count(path, config, family.heads)
    if width % n_heads:
        raise BackboneError(f"{path}: {family.width} {width} is no multiple of {family.heads} {n_heads}.")
    return Encoder(
        family=family,
        width=width,
        n_layers=_count(path, config, family.layers),
        n_heads=n_heads,
        inner=_count(path, config, family.inner),
        n_words=_count(path, config, "vocab_size"),
        n_positions=_count(path, config, "max_position_embeddings"),
        n_token_types=_count(path, config, "type_vocab_size") if family.token_types else 0,
        activation=_activation(path, config, family.activation),
        epsilon=_epsilon(path, config, family.epsilon),
        padding_id=_padding_id(path, config, family),
    )


def _refuse_other_mathematics(path: Path, config: Mapping[str, Any]) -> None:
    for key, computed in _FIXED.items():
        if config.get(key, computed) not in (computed, None):
            raise BackboneError(
                f"{path}: {key} is {config[key]!r}, and featx computes {computed!r} only. Take an ONNX file of this model "
                "instead."
            )
    own_code = config.get("auto_map")
    if isinstance(own_code, dict) and "AutoModel" in own_code:
        raise BackboneError(
            f"{path}: auto_map names code of the model's own ({own_code['AutoModel']}), which featx does not run. Take an ONNX "
            "file of this model instead."
        )


def _count(path: Path, config: Mapping[str, Any], key: str) -> int:
    number = config.get(key)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < _LARGEST_COUNT:
        found = "missing" if key not in config else f"{number!r:.40}"
        raise BackboneError(
            f"{path}: {key} is {found}, expected a whole number from 1. Fetch the file again."
        )
    return number


def _activation(path: Path, config: Mapping[str, Any], key: str) -> str:
    name = config.get(key, "gelu")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise BackboneError(
            f"{path}: {key} is {name!r}, and featx computes {', '.join(ACTIVATIONS)}. Take an ONNX file of this model instead."
        )
    return name


def _epsilon(path: Path, config: Mapping[str, Any], key: str | None) -> float:
    value = 1e-12 if key is None else config.get(key, 1e-12)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise BackboneError(f"{path}: {key} is {value!r}, expected a number from 0 to 1.")
    return float(value)


def _padding_id(path: Path, config: Mapping[str, Any], family: Family) -> int:
    value = 1 if family.padding_key is None else config.get(family.padding_key, 1)
    if family.counts_positions and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise BackboneError(
            f"{path}: {family.padding_key} is {value!r}, expected a token id: positions are counted from it."
        )
    number = value if isinstance(value, int) else 0
    if number >= config["vocab_size"]:
        raise BackboneError(
            f"{path}: {family.padding_key} is {number!r:.40}, and vocab_size {config['vocab_size']}: no such token. Fetch "
            "the file again."
        )
    return number


# --- model.safetensors ---


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a file, by their names without the prefix that a model with a head puts before them.

    Attributes
    ----------
    path : Path
    prefix : str
        ``""``, ``"bert."`` and the like.
    shapes : mapping
        Shapes by the names in the file.
    """

    path: Path
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, folder: Path) -> Weights:
        """Those of a folder.

        Raises
        ------
        BackboneNotFoundError
            There is no ``model.safetensors``; the message says what else there is.
        BackboneError
            The file is no safetensors file, or does not hold one encoder.
        """
        path = folder / WEIGHTS_NAME
        if not path.is_file():
            raise BackboneNotFoundError(_missing(path))
        shapes = weight_shapes(path)
        prefixes = [name.removesuffix(_WORDS) for name in shapes if name.endswith(_WORDS)]
        if len(prefixes) != 1:
            found = ", ".join(f"{prefix}{_WORDS}" for prefix in sorted(prefixes)) or "none"
            raise BackboneError(f"{path}: expected the word embeddings of one encoder, found {found}.")
        return cls(path, prefixes[0], shapes)

    def refuse_layer(self, name: str) -> None:
        """Raise BackboneError where the file has a layer, whose tensors begin with ``name``, beyond those that are built."""
        if more := next((one for one in self.shapes if one.startswith(self.prefix + name)), None):
            raise BackboneError(
                f"{self.path}: holds {more}, of a layer more than {CONFIG_NAME} says. The two files are of different models: "
                "fetch both from one place."
            )

    def read(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
        """Tensors by name, as float32.

        Parameters
        ----------
        shapes : mapping
            Names without the prefix, and the shapes that the tensors must have.

        Raises
        ------
        BackboneError
            One is missing, of another shape, or quantised.
        """
        stored = {name: self._stored(name) for name in shapes}
        for name, expected in shapes.items():
            found = self.shapes[stored[name]]
            if found != expected:
                raise BackboneError(
                    f"{self.path}: {stored[name]} has shape {found}, and {CONFIG_NAME} says {expected}. The two files are of "
                    "different models: fetch both from one place."
                )
        read = read_weights(self.path, stored.values())
        return {name: read[stored[name]] for name in shapes}

    def _stored(self, name: str) -> str:
        full = self.prefix + name
        # Checkpoints that came from TensorFlow, bert-base-uncased among them, name the vectors of a norm otherwise.
        old = full.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        for candidate in (full, old):
            if candidate in self.shapes:
                return candidate
        raise BackboneError(
            f"{self.path}: has no tensor {full}.{did_you_mean(full, self.shapes)} The file is incomplete, or not of the "
            f"model that {CONFIG_NAME} describes: fetch both from one place."
        )


def _missing(path: Path) -> str:
    folder = path.parent
    if (folder / f"{WEIGHTS_NAME}.index.json").is_file():
        return (
            f"{path}: missing; the weights are in several files, which featx does not join. With transformers: "
            "AutoModel.from_pretrained(folder).save_pretrained(other, max_shard_size='10GB')."
        )
    if any((folder / name).is_file() for name in ("pytorch_model.bin", "tf_model.h5")):
        return (
            f"{path}: missing; the weights are in a form that runs code when it is read, which featx does not. With "
            "transformers: AutoModel.from_pretrained(folder).save_pretrained(other)."
        )
    return f"{path}: missing. The encoder is built from {CONFIG_NAME} and {WEIGHTS_NAME}: put both into one folder."
