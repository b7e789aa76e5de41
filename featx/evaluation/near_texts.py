"""Whether two texts are one text, edited: their words compared, the rare ones counting most.

Case, punctuation, white space, links, mentions and a "RT" in front are no difference. Two reports of the same kind share most
of their words too, but not the rare ones that say what they are about: so a word weighs by how few texts have it.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["COPY_AT", "text_agreement", "words_of"]

COPY_AT = 0.8
"""Agreement from which on two texts are one."""

_FEWEST_WORDS = 5  # "will do, thank you" says no more than that two people were thankful
_LINK = re.compile(r"(?:https?://|www\.)\S+")
_MENTION = re.compile(r"(?<!\w)@\w+")
_RETWEET = re.compile(r"(?<!\w)rt(?!\w)")
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text without what retyping and forwarding change.

    Examples
    --------
    >>> words_of("RT @ann: So LATE again, @united! http://t.co/x")
    ('so', 'late', 'again')
    """
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    plain = _RETWEET.sub(" ", _MENTION.sub(" ", _LINK.sub(" ", plain)))
    return tuple(_WORD.findall(plain.replace("’", "'")))


def text_agreement(words: Sequence[tuple[str, ...]], pairs: NDArray[np.intp]) -> NDArray[np.float32]:
    """The share of words, by weight, that the texts of each pair have in common.

    Parameters
    ----------
    words : sequence of n tuples of str
        From :func:`words_of`.
    pairs : ndarray of int, shape (p, 2)

    Returns
    -------
    ndarray of float32, shape (p,)
        0 to 1 (Dice's coefficient of the bags of words, each word weighing 1 + log(n / texts that have it)). 0 where a text
        has fewer than five words.
    """
    weights = _weights(words)
    bags = {int(i): Counter(words[i]) for i in np.unique(pairs)}
    found = np.zeros(len(pairs), dtype=np.float32)
    for at, (i, j) in enumerate(pairs.tolist()):
        one, other = bags[i], bags[j]
        if min(one.total(), other.total()) < _FEWEST_WORDS:
            continue
        shared = sum(weights[word] * count for word, count in (one & other).items())
        found[at] = 2 * shared / (_weigh(one, weights) + _weigh(other, weights))
    return found


def _weigh(bag: Counter[str], weights: dict[str, float]) -> float:
    return sum(weights[word] * count for word, count in bag.items())


def _weights(words: Sequence[tuple[str, ...]]) -> dict[str, float]:
    having = Counter(word for text in words for word in set(text))
    return {word: 1 + float(np.log(len(words) / count)) for word, count in having.items()}
