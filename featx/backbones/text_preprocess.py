"""How a text becomes the network's input, and its tokens one vector: ``TextPreprocess``, read from a model's folder.

Owns what the publishers' files say: the tokenizer, the longest input, prompts, and the steps that a sentence-transformers folder
puts behind the encoder (pooling, dense layers, normalisation). A step that featx cannot do exactly is refused by name, because
vectors without it would be others than the publisher's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.safetensors_file import read_weights, weight_shapes
from featx.errors import ParameterError, PreprocessError
from featx.store.digest import digest_file

__all__ = ["TOKENIZER_NAME", "Dense", "TextPreprocess", "published_files"]

TOKENIZER_NAME = "tokenizer.json"

# sentence-transformers, models/Pooling.py, as `pooling_mode` and as the older flags.
_POOLINGS = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")
# `model_max_length` of a tokenizer that knows no limit is 10^30 (transformers, VERY_LARGE_INTEGER).
_WEIGHT, _BIAS = "linear.weight", "linear.bias"
_NO_LIMIT = 10**6
_DEFAULT_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A dense layer behind the pooling.

    Parameters
    ----------
    path : Path
        Its weights, a ``model.safetensors`` with ``linear.weight`` (out, in) and maybe ``linear.bias`` (out,).
    digest : str
        Of that file, 32 hex digits.
    n_features : int
        Length of the vectors that it makes.
    activation : str
        ``"Identity"``, ``"Tanh"``, ``"ReLU"``, ``"GELU"`` or ``"Sigmoid"``, as torch.nn names them.
    """

    path: Path = field(compare=False)
    digest: str
    activation: str
    n_features: int

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Weight (out, in) and bias (out,).

        Raises
        ------
        BackboneError
            The file is not readable.
        """
        found = read_weights(self.path, (_WEIGHT, _BIAS))
        return found[_WEIGHT], found.get(_BIAS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPreprocess:
    """From a text to a network's tokens, and from its pooled vector to the embedding.

    In this order: prompt + text, lower case where the publisher asks for it, tokens, truncation; then, behind the network,
    pooling, dense layers and normalisation. Use :meth:`from_folder`.

    Parameters
    ----------
    tokenizer : str
        Digest of ``tokenizer.json``, 32 hex digits.
    max_length : int
        Longest input in tokens, special ones included; what is longer is cut off at its end.
    max_positions : int or None
        Longest input that the network has positions for; None where there is no such limit.
    prompt : str
        Put before every text, as it is.
    lowercase : bool
        Lower case before the tokenizer.
    pad_id : int
        What stands at the end of a shorter row, behind the mask.
    normalize : bool or None
        Scale vectors to length 1; None does what the publisher does.
    pooling : str or None
        The publisher's pooling: ``"cls"``, ``"mean"``, ``"max"`` or ``"last"``; None where the files do not say.
    dense : tuple of Dense
        The publisher's dense layers behind that pooling.
    ends_normalized : bool
        Whether the publisher scales vectors to length 1.
    """

    tokenizer: str
    max_length: int
    max_positions: int | None = None
    prompt: str = ""
    lowercase: bool = False
    pad_id: int = 0
    normalize: bool | None = None
    pooling: str | None = None
    dense: tuple[Dense, ...] = ()
    ends_normalized: bool = False

    def __post_init__(self) -> None:
        _check_whole("max_length", self.max_length)
        if self.max_positions is not None and self.max_length > self.max_positions:
            raise ParameterError(
                f"max_length={self.max_length}: the network has {self.max_positions} positions. Give at most that."
            )
        if not isinstance(self.prompt, str):
            raise ParameterError(f"prompt must be a string, got {self.prompt!r}.")
        if self.normalize not in (None, True, False):
            raise ParameterError(f'normalize must be "auto", True or False, got {self.normalize!r}.')

    @classmethod
    def from_folder(cls, folder: str | Path) -> TextPreprocess | None:
        """Read what a model folder says; None where it has no ``tokenizer.json``.

        The length is ``max_seq_length`` of ``sentence_bert_config.json``, else ``model_max_length`` of ``tokenizer_config.json``,
        and never more than the positions of ``config.json``. Truncation and padding inside ``tokenizer.json`` do not count.

        Raises
        ------
        PreprocessError
            A file is not JSON, or names a step that featx cannot do; the message names the file.
        """
        place = Path(folder)
        if not (place / TOKENIZER_NAME).is_file():
            return None
        network, tokenizer = _read(place / "config.json"), _read(place / "tokenizer_config.json")
        sentence, prompts = _read(place / "sentence_bert_config.json"), _read(place / _PROMPTS_NAME)
        positions = _positions(network)
        lengths = [sentence.get("max_seq_length"), tokenizer.get("model_max_length"), positions]
        known = [
            n for n in lengths if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < _NO_LIMIT
        ]
        longest = int(known[0]) if known else _DEFAULT_LENGTH
        end = _modules(place)
        return cls(
            tokenizer=digest_file(place / TOKENIZER_NAME).hex(),
            max_length=longest if positions is None else min(longest, positions),
            max_positions=positions,
            prompt=_default_prompt(prompts, place / _PROMPTS_NAME),
            lowercase=bool(sentence.get("do_lower_case", False)),
            pad_id=_pad_id(network),
            pooling=end.pooling,
            dense=end.dense,
            ends_normalized=end.normalized,
        )

    def ends(self, pooling: str, *, published: bool) -> tuple[tuple[Dense, ...], bool]:
        """Dense layers and whether vectors are normalised, for one tap.

        Parameters
        ----------
        pooling : str
            The tap's, resolved.
        published : bool
            Whether the tap is the one that the publisher pools.
        """
        own = published and pooling == self.pooling
        normalized = self.normalize if self.normalize is not None else own and self.ends_normalized
        return (self.dense if own else ()), normalized

    def to_dict(self) -> dict[str, Any]:
        """The publisher's choices as plain values, for people."""
        end = {"pooling": self.pooling, "positions": self.max_positions}
        return self.space_dict(self.pooling or "", published=True) | end

    def space_dict(self, pooling: str, *, published: bool) -> dict[str, Any]:
        """Everything that decides a vector's value, as plain values for the feature space of one tap; see :meth:`ends`."""
        dense, normalized = self.ends(pooling, published=published)
        return {
            "kind": "text",
            "tokenizer": self.tokenizer,
            "max_length": self.max_length,
            "prompt": self.prompt,
            "lowercase": self.lowercase,
            "pad_id": self.pad_id,
            "dense": [{"digest": layer.digest, "activation": layer.activation} for layer in dense],
            "normalize": normalized,
        }


def published_files(folder: str | Path) -> list[Path]:
    """The files that :meth:`TextPreprocess.from_folder` reads, relative to the folder; those that are there."""
    place = Path(folder)
    names = [Path(name) for name in (TOKENIZER_NAME, *_CONFIG_NAMES)]
    modules = _parse(place / "modules.json") if (place / "modules.json").is_file() else []
    for module in modules:
        names += [
            Path(str(module.get("path", ""))) / name
            for name in ("config.json", "model.safetensors")
            if module.get("path")
        ]
    names.append(Path("1_Pooling") / "config.json")
    return [name for name in dict.fromkeys(names) if (place / name).is_file()]


_PROMPTS_NAME = "config_sentence_transformers.json"
_CONFIG_NAMES = (
    "config.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "modules.json",
    _PROMPTS_NAME,
)


@dataclass(frozen=True, slots=True)
class _End:
    """What stands behind an encoder."""

    pooling: str | None = None
    dense: tuple[Dense, ...] = ()
    normalized: bool = False


def _modules(folder: Path) -> _End:
    """The modules of a sentence-transformers folder behind its encoder."""
    path = folder / "modules.json"
    if not path.is_file():
        alone = folder / "1_Pooling" / "config.json"
        return _End(_pooling(alone) if alone.is_file() else None)
    modules = _parse(path)
    if not isinstance(modules, list) or not all(isinstance(one, dict) for one in modules):
        raise PreprocessError(f"{path}: expected a list of modules. Fetch the folder again.")
    pooling: str | None = None
    dense: list[Dense] = []
    normalized = False
    for module in modules:
        kind, place = str(module.get("type", "")).rsplit(".", 1)[-1], folder / str(module.get("path", ""))
        if kind == "Pooling" and pooling is None:
            pooling = _pooling(place / "config.json")
        elif kind == "Dense" and pooling is not None:
            dense.append(_dense(place))
        elif kind == "Normalize":
            normalized = True
        elif kind != "Transformer":
            raise PreprocessError(
                f"{path}: module {kind!r} is none that featx can put behind an encoder (Pooling, Dense, Normalize). Name the "
                "pooling you want in a copy of the folder without modules.json."
            )
    return _End(pooling, tuple(dense), normalized)


def _pooling(path: Path) -> str:
    config = _read(path)
    named = config.get("pooling_mode")
    modes = [named] if named else [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    modes = [_POOLINGS.get(str(mode), str(mode)) for mode in modes]
    if len(modes) != 1 or modes[0] not in _POOLINGS.values():
        raise PreprocessError(
            f"{path}: pools by {' and '.join(modes) or 'nothing'}; featx pools by one of {', '.join(_POOLINGS.values())}. Name "
            "the pooling you want in a copy of the folder without modules.json."
        )
    return modes[0]


def _dense(folder: Path) -> Dense:
    config, weights = _read(folder / "config.json"), folder / "model.safetensors"
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise PreprocessError(
            f"{folder / 'config.json'}: activation {activation} is none of {', '.join(_ACTIVATIONS)}. featx cannot make "
            "these vectors."
        )
    if not weights.is_file():
        raise PreprocessError(
            f"{weights}: missing, and the dense layer's weights are needed. Fetch it; a pytorch_model.bin is a pickle, and not "
            "read."
        )
    shape = weight_shapes(weights).get(_WEIGHT)
    if shape is None or len(shape) != 2:
        raise PreprocessError(f"{weights}: has no {_WEIGHT} (out, in). Fetch it again.")
    return Dense(path=weights, digest=digest_file(weights).hex(), activation=activation, n_features=shape[0])


def _positions(config: Mapping[str, Any]) -> int | None:
    """Positions that a network has; None where it counts distances (T5) or the file does not say."""
    for name in ("max_position_embeddings", "n_positions", "max_positions"):
        number = config.get(name)
        if isinstance(number, int) and number > 0:
            # RoBERTa counts from behind the padding id (transformers, create_position_ids_from_input_ids), and so does MPNet.
            offset = _pad_id(config) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
            return None if config.get("model_type") in _RELATIVE_POSITIONS else number - offset
    return None


_OFFSET_POSITIONS = {
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "longformer",
    "xlm-roberta-xl",
    "data2vec-text",
}
_RELATIVE_POSITIONS = {"t5", "mt5", "umt5"}


def _pad_id(config: Mapping[str, Any]) -> int:
    number = config.get("pad_token_id")
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else 0


def _default_prompt(config: Mapping[str, Any], path: Path) -> str:
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise PreprocessError(
            f"{path}: its default prompt {name!r} is not among its prompts. Correct the file."
        )
    return str(prompts[name])


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file."""
    values = _parse(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise PreprocessError(
            f"{path}: expected a JSON object, found {type(values).__name__}. Fetch it again."
        )
    return values


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise PreprocessError(f"{path}: cannot be read as JSON ({error}). Fetch it again.") from error


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name} must be a whole number of at least 1, got {value!r}.")
