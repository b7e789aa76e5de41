"""What X may be of texts, and strings turned into token ids.

A sample is a string, or a :class:`~featx.inputs.samples.DigestSample`; anything else is refused by its position. The
tokenizer is the publisher's ``tokenizer.json``, read by Hugging Face's tokenizers; truncation and padding that lie in the file
are overridden.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import DigestMismatchError, InputError, PreprocessError, SampleError
from featx.inputs.containers import Wanted, collect, is_missing_value, kept, refuse_empty
from featx.inputs.long_texts import beginning, keeps_words_apart
from featx.inputs.samples import DigestSample
from featx.store.digest import digest_bytes

__all__ = ["TextTokenizer", "as_texts"]

_DIGEST = re.compile("digest:([0-9a-f]{32})")
_SURROGATES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_AT_A_TIME = 1024  # texts encoded in one call; their encodings weigh a hundred times their ids
_CHARACTERS_AT_A_TIME = 1 << 20
_BEYOND = 16  # tokens that a beginning must have beyond those that are kept


def as_texts(X: Any, *, keep_errors: bool = False) -> Sequence[Any]:
    """Turn X into a sequence of texts, in X's order.

    Parameters
    ----------
    X : list, tuple or other sequence; ndarray; pandas or polars Series; one-column DataFrame
        Of strings. ``"digest:<32 hex digits>"``, as :func:`featx.embed` writes it, is a sample known by its content.
    keep_errors : bool
        Let the error of a sample that is missing or no string stand in its place, instead of raising it.

    Returns
    -------
    samples : sequence of n str, DigestSample or SampleError

    Raises
    ------
    InputError
        If X is empty, a single string, has several columns, or is no container of strings.
    SampleError
        If one sample is missing or no string, unless ``keep_errors``; names its index.

    Examples
    --------
    >>> as_texts(["fine", ""])
    ['fine', '']
    """
    if isinstance(X, bytes | bytearray | memoryview):
        raise InputError('X is bytes, expected a list of strings: give [X.decode("utf-8")], or a line each.')
    if isinstance(X, str | DigestSample):
        raise InputError("X is a single text, expected a list of texts: give [X].")
    return collect(X, _WANTED, keep_errors)


class TextTokenizer:
    """A tokenizer with the length and the prompt of a preprocessing.

    Parameters
    ----------
    path : Path
        ``tokenizer.json``.
    preprocess : TextPreprocess

    Raises
    ------
    PreprocessError
        The file is not a tokenizer, or it adds more special tokens than fit into ``max_length``.
    DigestMismatchError
        It is not the file that the preprocessing was read with.
    """

    def __init__(self, path: Path, preprocess: TextPreprocess) -> None:
        from tokenizers import Tokenizer

        try:
            content = path.read_bytes()
        except OSError as error:
            raise PreprocessError(f"{path}: cannot be read ({error.strerror}). Put it back.") from error
        found = digest_bytes(content).hex()
        if found != preprocess.tokenizer:
            raise DigestMismatchError(
                f"{path}: changed since it was opened: expected digest {preprocess.tokenizer}, found {found}. Open the backbone "
                "and fit again, or put the file back."
            )
        try:
            self._tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # tokenizers raises Exception itself
            raise PreprocessError(f"{path}: not a tokenizer that tokenizers can read ({error}).") from error
        n_special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if preprocess.max_length <= n_special:
            raise PreprocessError(
                f"max_length={preprocess.max_length}: the tokenizer adds {n_special} tokens of its own to every text. Give more."
            )
        self._cuts_early = keeps_words_apart(json.loads(content))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(preprocess.max_length)
        self._path = path
        self._preprocess = preprocess

    def encode(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        """Token ids of texts, and which of them were cut off at the longest length.

        Lone surrogates, which no encoding has, are read as U+FFFD.

        Parameters
        ----------
        texts : sequence of n str

        Returns
        -------
        ids : list of n ndarray of int32, shape (t_i,)
            Special tokens included; empty where a tokenizer without special tokens is given a text without words.
        cut : list of int
            Positions in ``texts``, in their order.

        Raises
        ------
        PreprocessError
            The tokenizer has no token for what a text holds, and none for unknown words.
        """
        ids: list[NDArray[np.int32]] = []
        cut: list[int] = []
        for batch in _batches(texts, _AT_A_TIME, _CHARACTERS_AT_A_TIME):
            for encoding in self._encoded([self._prepared(text) for text in batch]):
                if encoding.overflowing:
                    cut.append(len(ids))
                ids.append(np.asarray(encoding.ids, dtype=np.int32))
        return ids, cut

    def pieces(self, text: str) -> list[str]:
        """What of the text each of its tokens stands for, in their order, with the space before it.

        Returns
        -------
        list of str
            One a token of :meth:`encode`; empty for tokens of the tokenizer's own.
        """
        prepared = self._prepared(text)
        encoding = self._tokenizer.encode(prepared)
        found, done = [], 0
        for (start, end), own in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
            found.append("" if own else prepared[min(done, start) : end])
            done = done if own else end
        return found

    def _encoded(self, texts: list[str]) -> list[Any]:
        if not self._cuts_early:
            return self._encoded_whole(texts)
        heads = [beginning(text, self._preprocess.max_length) for text in texts]
        encodings = self._encoded_whole(heads)
        for at, (head, text) in enumerate(zip(heads, texts, strict=True)):
            # A beginning of few tokens, of one long word say, does not decide all that are kept.
            if head is not text and sum(len(part.ids) for part in encodings[at].overflowing) < _BEYOND:
                encodings[at] = self._encoded_whole([text])[0]
        return encodings

    def _encoded_whole(self, texts: list[str]) -> list[Any]:
        try:
            return list(self._tokenizer.encode_batch_fast(texts))
        except Exception as error:  # tokenizers raises Exception itself
            raise PreprocessError(
                f"{self._path}: the tokenizer cannot encode one of the texts ({error}). Fetch it again."
            ) from error

    def _prepared(self, text: str) -> str:
        text = self._preprocess.prompt + text
        if not text.isascii() and _SURROGATES.search(text):
            text = _SURROGATES.sub(_REPLACEMENT, text)
        return text.lower() if self._preprocess.lowercase else text


def _batches(texts: Sequence[str], most: int, most_characters: int) -> Iterator[Sequence[str]]:
    """Texts in their order, as many together as both limits allow; a longer one alone."""
    start = n_characters = 0
    for at, text in enumerate(texts):
        if at - start == most or (at > start and n_characters + len(text) > most_characters):
            yield texts[start:at]
            start, n_characters = at, 0
        n_characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _checked(samples: Sequence[Any], keep_errors: bool) -> Sequence[Any]:
    """The same sequence where nothing needs changing: plain strings cost no new objects."""
    refuse_empty(samples)
    if set(map(type, samples)) != {str}:
        samples = [kept(_text, value, index, keep_errors) for index, value in enumerate(samples)]
    special = [
        (i, found)
        for i, text in enumerate(samples)
        if isinstance(text, str) and text.startswith("digest:") and (found := _DIGEST.fullmatch(text))
    ]
    if not special:
        return samples
    changed = list(samples)
    for index, found in special:
        changed[index] = DigestSample(bytes.fromhex(found[1]))
    return changed


def _text(value: Any, index: int) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, DigestSample | SampleError):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "OUT":
        return _text(value.item(), index)
    name = f"sample {index}"
    if is_missing_value(value):
        raise SampleError(
            f'the text is missing ({value!r}). Remove the row, give "" for no text, or pass on_error="nan".',
            index=index,
            name=name,
        )
    how = "Decode it" if isinstance(value, bytes | bytearray) else "Convert it with str"
    raise SampleError(
        f'expected a string, found {type(value).__name__}. {how}, or pass on_error="nan".',
        index=index,
        name=name,
    )


_WANTED = Wanted(kinds="strings", step='"texts", TextFeatures(...), "text"', check=_checked)
