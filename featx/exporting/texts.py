"""How a checkpoint's texts become tokens, and its tokens one vector: the files that say so, copied or made.

``tokenizer.json`` is the publisher's own where there is one, and else what transformers converts the older form to. A pooling is
the publisher's (``modules.json``), or the caller's, or the last token for a network that reads from left to right; never a guess.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from featx.backbones.text_preprocess import TOKENIZER_NAME, TextPreprocess
from featx.errors import ConversionError, ParameterError, PreprocessError
from featx.exporting.checkpoint import Checkpoint
from featx.exporting.folder import write_files
from featx.exporting.scrubbing import scrubbed_json

__all__ = ["POOLINGS", "Texts", "given_texts", "texts_of", "tokens_of"]

POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
}
"""Name to its flag in sentence-transformers' ``1_Pooling/config.json``."""

_SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")
_POOLING_NAME = "1_Pooling/config.json"
_TRANSFORMER = "sentence_transformers.models.Transformer"
_POOLING = "sentence_transformers.models.Pooling"
_NAME_A_POOLING = (
    "The source does not say how tokens become one vector: name a pooling when you use the backbone, as "
    'TextFeatures(..., pooling="mean").'
)
# Words, numbers, white space, letters of two and more bytes, none at all: where conversions of tokenizers go wrong.
_SENTENCES = ("The quick brown fox jumps over 13 lazy dogs.", "  Naïve café – Übergröße, 東京 🙂\n(etc.)", "")


@dataclass(frozen=True, slots=True)
class Texts:
    """What decides the tokens.

    Parameters
    ----------
    files : mapping of str to bytes
        Name in the folder to content.
    preprocess : TextPreprocess
        What those files say.
    own : callable or None
        The source's own tokenizer: a text to ids.
    notes : tuple of str
    """

    files: Mapping[str, bytes]
    preprocess: TextPreprocess
    own: Callable[[str], list[int]] | None = None
    notes: tuple[str, ...] = ()


_TOKENIZER_FILES = (
    TOKENIZER_NAME,
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
)


def texts_of(checkpoint: Checkpoint, config: Any, pooling: str | None, *, one_vector: bool = False) -> Texts:
    """Of the tokenizer and the sentence-transformers files that a checkpoint comes with.

    Parameters
    ----------
    checkpoint : Checkpoint
    config : PretrainedConfig
        Of the network.
    pooling : {"mean", "cls", "last", "max"} or None
        For a source that names none.
    one_vector : bool
        Whether the network pools by itself (CLIP).

    Raises
    ------
    PreprocessError
        There is no tokenizer that becomes a ``tokenizer.json``, or a step behind the encoder that featx cannot do.
    ParameterError
        The source names a pooling, and the caller another.
    """
    from transformers import AutoTokenizer

    if not any((checkpoint.folder / name).is_file() for name in (*_TOKENIZER_FILES, "tokenizer_config.json")):
        # transformers makes one that knows no word where there is none.
        raise PreprocessError(
            f"{checkpoint.source}: no tokenizer in it (looked for {', '.join(_TOKENIZER_FILES)}). Put the publisher's beside the "
            "weights, or save it there with save_pretrained."
        )
    tokenizer = checkpoint.load(AutoTokenizer)
    content = checkpoint.read(TOKENIZER_NAME) or _converted(checkpoint, tokenizer)
    files = {TOKENIZER_NAME: content, "config.json": _config_json(config)}
    for name in ("tokenizer_config.json", *_SENTENCE_FILES):
        found = checkpoint.read(name)
        if found is not None:
            files[name] = scrubbed_json(found)
    files |= _module_files(checkpoint, files.get("modules.json"))
    names_own = _POOLING_NAME in files or "modules.json" in files
    notes: tuple[str, ...] = ()
    if names_own and pooling is not None:
        _refuse_another(checkpoint, files, pooling)
    elif not names_own and not one_vector:
        pooling = pooling or _implied_pooling(config)
        files |= {} if pooling is None else _pooling_files(pooling, config.hidden_size)
        notes = () if pooling is not None else (_NAME_A_POOLING,)
    own = _tokens_of(tokenizer)
    return Texts(files, _read(files, checkpoint.source), own, notes)


def given_texts(tokenizer: Any, pooling: str | None = None, *, n_features: int = 0) -> Texts:
    """Of what the caller gives: a tokenizer of transformers, a tokenizers.Tokenizer, or the path of a ``tokenizer.json``."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    own = None if backend is tokenizer else _tokens_of(tokenizer)
    limits: dict[str, Any] = {}
    if hasattr(backend, "to_str"):
        content = backend.to_str().encode()
        limits = {"model_max_length": getattr(tokenizer, "model_max_length", None)}
    elif isinstance(backend, str | Path) and Path(backend).expanduser().is_file():
        content = Path(backend).expanduser().read_bytes()
    else:
        raise ParameterError(
            f"tokenizer must be a fast tokenizer of transformers, a tokenizers.Tokenizer or a tokenizer.json, got {tokenizer!r}."
        )
    pad_id = getattr(tokenizer, "pad_token_id", None)
    files = {TOKENIZER_NAME: content, "config.json": json.dumps({"pad_token_id": pad_id}).encode()}
    files["tokenizer_config.json"] = json.dumps(limits).encode()
    files |= {} if pooling is None else _pooling_files(pooling, n_features)
    notes = () if pooling is not None else (_NAME_A_POOLING,)
    return Texts(files, _read(files, "the tokenizer"), own, notes)


def tokens_of(
    path: Path, texts: Sequence[str], own: Callable[[str], list[int]] | None = None
) -> list[list[int]]:
    """Ids of texts by a written ``tokenizer.json``, held to the source's own tokenizer.

    Parameters
    ----------
    path : Path
    texts : sequence of str
    own : callable or None
        The source's own tokenizer: a text to ids. It is asked about some sentences more.

    Raises
    ------
    ConversionError
        A text gets other ids.
    """
    from transformers import PreTrainedTokenizerFast

    written = _tokens_of(PreTrainedTokenizerFast(tokenizer_file=str(path)))
    if own is not None:
        for text in (*_SENTENCES, *texts):
            _refuse_other_ids(text, written(text), own(text))
    return [written(text) for text in texts]


def _refuse_other_ids(text: str, found: Sequence[int], expected: Sequence[int]) -> None:
    if found != expected:
        raise ConversionError(
            f"{TOKENIZER_NAME} gives {text[:40]!r} the ids {found[:12]}, the source's own tokenizer {expected[:12]}: vectors "
            "would be others. Nothing was written. Save the tokenizer with save_pretrained and export that folder."
        )


def _config_json(config: Any) -> bytes:
    """Of the encoder alone, with the values that are its class's defaults: positions and the padding id are read from here."""
    return scrubbed_json(config.to_json_string(use_diff=False).encode())


def _converted(checkpoint: Checkpoint, tokenizer: Any) -> bytes:
    if not getattr(tokenizer, "is_fast", False):
        raise PreprocessError(
            f"{checkpoint.source}: its {type(tokenizer).__name__} has no {TOKENIZER_NAME}, and transformers has no fast form of "
            "it, so featx cannot make its tokens."
        )
    return str(tokenizer.backend_tokenizer.to_str()).encode()


def _module_files(checkpoint: Checkpoint, modules: bytes | None) -> dict[str, bytes]:
    """What the modules behind an encoder keep in folders of their own."""
    paths = ["1_Pooling"]
    if modules is not None:
        paths = [str(one.get("path", "")) for one in json.loads(modules) if isinstance(one, Mapping)]
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
            raise PreprocessError(
                f"{checkpoint.source}: modules.json names {path!r}, which leads out of its folder."
            )
    names = [
        f"{path}/{name}" for path in filter(None, paths) for name in ("config.json", "model.safetensors")
    ]
    found = {name: checkpoint.read(name) for name in names}
    return {name: content for name, content in found.items() if content is not None}


def _refuse_another(checkpoint: Checkpoint, files: Mapping[str, bytes], pooling: str) -> None:
    own = _read(files, checkpoint.source).pooling
    if own != pooling:
        raise ParameterError(
            f"pooling={pooling!r}: {checkpoint.source} comes with its own, {own!r}. Leave it out; another can be chosen when "
            f"the backbone is used, as TextFeatures(..., pooling={pooling!r})."
        )


def _implied_pooling(config: Any) -> str | None:
    """Only the last token of a network that reads from left to right has seen them all."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    reads_on = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "last" if reads_on and not getattr(config, "is_encoder_decoder", False) else None


def _pooling_files(pooling: str, n_features: int) -> dict[str, bytes]:
    """The pooling as sentence-transformers writes it, so that it reads the folder too."""
    kinds = [("", _TRANSFORMER), ("1_Pooling", _POOLING)]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]
    flags = {flag: name == pooling for name, flag in POOLINGS.items()}
    config = {"word_embedding_dimension": n_features, **flags}
    return {
        "modules.json": json.dumps(modules, indent=2).encode(),
        _POOLING_NAME: json.dumps(config, indent=2).encode(),
    }


def _tokens_of(tokenizer: Any) -> Callable[[str], list[int]]:
    return lambda text: list(tokenizer(text)["input_ids"])


def _read(files: Mapping[str, bytes], source: str) -> TextPreprocess:
    """What the folder that these files will be in says; a refusal names the source, and not the folder of a moment."""
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        write_files(files, Path(folder))
        try:
            found = TextPreprocess.from_folder(folder)
        except PreprocessError as error:
            raise PreprocessError(str(error).replace(folder, source)) from error
    if found is None:
        raise PreprocessError(f"{source}: no {TOKENIZER_NAME}.")
    return found
