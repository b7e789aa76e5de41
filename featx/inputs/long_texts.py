"""The beginning of a long text that decides its first tokens, so that a book is not tokenised for its first page.

Owns when that is exact: only for tokenizers whose files say that no token reaches across a space, and that nothing before a
space depends on what comes after it. Of all others, and of texts without spaces, the whole is tokenised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["beginning", "keeps_words_apart"]

_CHARACTERS_A_TOKEN = 16  # three to four times what a token of prose takes
_WORD_ENDS = re.compile(r"(?<=\S) ")

# By the names of Hugging Face's tokenizers, in tokenizer.json. These change a text character by character, or by clusters of
# characters that no space is inside of.
_LOCAL_NORMALIZERS = {
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Strip",
    "StripAccents",
}
_SPLIT_AT_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_SPACES_TO_ONE = {"Regex": " {2,}"}


def keeps_words_apart(config: Mapping[str, Any]) -> bool:
    """Whether the tokens before a space are the same whatever stands after it, by what a ``tokenizer.json`` holds."""
    added = config.get("added_tokens") or ()
    return (
        _is_local(config.get("normalizer"))
        and _splits_at_spaces(config.get("pre_tokenizer"))
        and not any(" " in token["content"] for token in added)
    )


def beginning(text: str, n_tokens: int) -> str:
    """Whole words from the start of a text, enough of them for ``n_tokens`` tokens of prose; a shorter text itself.

    Examples
    --------
    >>> beginning("one two three four", 1)
    'one two three four'
    >>> beginning("twelve words are more than enough for a single token of prose, surely", 1)
    'twelve words are'
    """
    n_characters = _CHARACTERS_A_TOKEN * n_tokens
    if len(text) <= 2 * n_characters:
        return text
    end = _WORD_ENDS.search(text, n_characters, 2 * n_characters)
    return text if end is None else text[: end.start()]


def _is_local(step: Any) -> bool:
    if step is None:
        return True
    if step["type"] == "Sequence":
        return all(map(_is_local, step["normalizers"]))
    return step["type"] in _LOCAL_NORMALIZERS or (
        step["type"] == "Replace" and step.get("pattern") == _SPACES_TO_ONE
    )


def _splits_at_spaces(step: Any) -> bool:
    if step is None:
        return False
    if step["type"] == "Sequence":  # what comes after the first sees single words
        return _splits_at_spaces(step["pretokenizers"][0])
    if step["type"] == "Metaspace":
        return step.get("split", True) is True
    if step["type"] == "ByteLevel":
        return step.get("use_regex", True) is True
    return step["type"] in _SPLIT_AT_SPACES
