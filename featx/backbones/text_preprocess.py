"""How a text becomes the network's input, and its tokens one vector: ``TextPreprocess``, read from a model's folder.

Owns what the publishers' files say of the tokenizer, the longest input and prompts; what stands behind the encoder is read by
:mod:`featx.backbones.text_modules`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.backbones.text_modules import Dense, module_files, read_modules, read_object
from featx.errors import ParameterError, PreprocessError
from featx.store.digest import digest_file

__all__ = ["TOKENIZER_NAME", "TextPreprocess", "published_files"]

TOKENIZER_NAME = "tokenizer.json"
_NETWORK_NAME = "config.json"
_TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
_PROMPTS_NAME = "config_sentence_transformers.json"
# sentence-transformers, modules/transformer.py, load_config: the first that is there, its own name and those of old versions.
_SENTENCE_NAMES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

# `model_max_length` of a tokenizer that knows no limit is 10^30 (transformers, VERY_LARGE_INTEGER).
_NO_LIMIT = 10**6
_DEFAULT_LENGTH = 512
_NO_TOKEN = 2**31  # ids are int32

# These count positions from behind the padding id (transformers, create_position_ids_from_input_ids), which is 1 where their
# configurations are silent.
_OFFSET_POSITIONS = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
# These have distances instead, of any size.
_RELATIVE_POSITIONS = ("t5", "mt5", "umt5")


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
    first_position : int
        Position of the first token, for a graph that takes positions.
    normalize : bool or None
        Scale vectors to length 1; None does what the publisher does.
    pooling : str or None
        The publisher's pooling: ``"cls"``, ``"mean"``, ``"max"`` or ``"last"``; None where the files do not say.
    dense : tuple of Dense
        The publisher's dense layers behind that pooling.
    ends_normalized : bool
        Whether the publisher scales vectors to length 1.
    pools_prompt : bool
        Whether the publisher pools the tokens of a prompt with the others. featx always does.

    Raises
    ------
    ParameterError
        A field is wrong, ``max_length`` is beyond the network's positions, or there is a prompt that must not be pooled.
    """

    tokenizer: str
    max_length: int
    max_positions: int | None = None
    prompt: str = ""
    lowercase: bool = False
    pad_id: int = 0
    first_position: int = 0
    normalize: bool | None = None
    pooling: str | None = None
    dense: tuple[Dense, ...] = ()
    ends_normalized: bool = False
    pools_prompt: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_length", _whole("max_length", self.max_length))
        if self.max_positions is not None and self.max_length > self.max_positions:
            raise ParameterError(
                f"max_length={self.max_length}: the network has {self.max_positions} positions. Give at most that."
            )
        if not isinstance(self.prompt, str):
            raise ParameterError(f"prompt must be a string, got {self.prompt!r}.")
        if self.prompt and not self.pools_prompt:
            raise ParameterError(
                f"prompt={self.prompt!r}: the publisher leaves a prompt's tokens out of the pooling (include_prompt), and featx "
                "pools them all. Use the network without a prompt, or another."
            )
        if self.normalize is not None and not isinstance(self.normalize, bool):
            raise ParameterError(f"normalize must be True, False or None, got {self.normalize!r}.")

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
        network, tokenizer = read_object(place / _NETWORK_NAME), read_object(place / _TOKENIZER_CONFIG_NAME)
        sentence, prompts = read_object(place / _sentence_name(place)), read_object(place / _PROMPTS_NAME)
        positions = _positions(network)
        modules = read_modules(place)
        prompt = _default_prompt(prompts, place / _PROMPTS_NAME)
        if prompt and not modules.pools_prompt:
            raise PreprocessError(
                f"{place / _PROMPTS_NAME}: the default prompt's tokens are left out of the pooling (include_prompt), and featx "
                "pools them all, so it cannot make these vectors."
            )
        return cls(
            tokenizer=digest_file(place / TOKENIZER_NAME).hex(),
            max_length=_longest(
                (sentence.get("max_seq_length"), tokenizer.get("model_max_length")), positions
            ),
            max_positions=positions,
            prompt=prompt,
            lowercase=sentence.get("do_lower_case") is True,
            pad_id=_pad_id(network),
            first_position=_first_position(network),
            pooling=modules.pooling,
            dense=modules.dense,
            ends_normalized=modules.normalized,
            pools_prompt=modules.pools_prompt,
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
        first = {"first_position": self.first_position} if self.first_position else {}
        return first | {
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
    names = (TOKENIZER_NAME, _NETWORK_NAME, _TOKENIZER_CONFIG_NAME, _sentence_name(place), _PROMPTS_NAME)
    return [Path(name) for name in names if (place / name).is_file()] + module_files(place)


def _sentence_name(folder: Path) -> str:
    there = (name for name in _SENTENCE_NAMES if (folder / name).is_file())
    return next(there, _SENTENCE_NAMES[0])


def _longest(lengths: tuple[Any, Any], positions: int | None) -> int:
    known = [
        int(n)
        for n in lengths
        if isinstance(n, int | float) and not isinstance(n, bool) and 1 <= n < _NO_LIMIT
    ]
    if positions is None:
        return known[0] if known else _DEFAULT_LENGTH
    return min(known[0], positions) if known else positions


def _positions(config: Mapping[str, Any]) -> int | None:
    """Positions that a network has; None where it counts distances (T5) or the file does not say."""
    kind = config.get("model_type")
    if kind in _RELATIVE_POSITIONS:
        return None
    offset = _first_position(config)
    for name in ("max_position_embeddings", "n_positions", "max_positions"):
        number = config.get(name)
        if isinstance(number, int) and not isinstance(number, bool) and number > offset:
            return number - offset
    return None


def _first_position(config: Mapping[str, Any]) -> int:
    return _pad_id(config) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0


def _pad_id(config: Mapping[str, Any]) -> int:
    number = config.get("pad_token_id")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _NO_TOKEN:
        return number
    return 1 if config.get("model_type") in _OFFSET_POSITIONS else 0


def _default_prompt(config: Mapping[str, Any], path: Path) -> str:
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if name is None:
        return ""
    if not isinstance(name, str) or not isinstance(prompts, dict) or name not in prompts:
        raise PreprocessError(
            f"{path}: its default prompt {name!r} is not among its prompts. Correct the file."
        )
    prompt = prompts[name]
    if prompt is not None and not isinstance(prompt, str):
        raise PreprocessError(f"{path}: prompt {name!r} is no string: {prompt!r}. Correct the file.")
    return prompt or ""


def _whole(name: str, value: Any) -> int:
    """An int, also of numpy's kinds, which parameter grids hold."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ParameterError(f"{name} must be a whole number of at least 1, got {value!r}.")
    return number
