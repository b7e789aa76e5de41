"""Near-copies: samples that are one picture or one text, edited; found by their vectors and confirmed on themselves.

A near-copy of a training picture in the test part is a test of memory. Candidates are the nearest neighbours of every sample
among the vectors, and of pictures among coarse thumbnails too, which do not depend on what a network happens to look at; they
are confirmed on small pictures laid on each other (``alignment.py``) or on the words (``near_texts.py``). Pairs within one
group are a finding only where their labels differ, and take no time otherwise: neighbouring slices of a patient are kept
together anyway.

Seen: compressed, scaled, brightened, mirrored and slightly cropped pictures; texts with another case, link, mention, prefix
or a few other words. Not seen: pictures that are turned, sheared, cropped to less than about two thirds or part of a collage,
blank ones, and texts of fewer than five words.

Time grows with the square of the number of samples (``benchmarks/near_copies.py``). Memory: for each distinct sample up to
1 KB of whitened vector, and of a picture 2.3 KB of thumbnail and, for a while, 4 KB of coarse ones; and some 100 MB of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import ParameterError
from featx.evaluation.alignment import COARSE_PX, SIDE_PX, coarse, compare
from featx.evaluation.columns import check_groups
from featx.evaluation.near_texts import COPY_AT, text_agreement, words_of
from featx.evaluation.neighbours import finite_rows, nearest_pairs, unit_rows, whiten
from featx.evaluation.thumbnails import thumbnails
from featx.evaluation.units import join_units
from featx.inference.devices import cpu_threads
from featx.inputs.samples import as_samples
from featx.inputs.texts import as_texts
from featx.progress import Progress, progress_bar
from featx.store.digest import Keys

__all__ = ["NearCopies", "fold_units", "near_copies"]

_NEIGHBOURS = (
    5  # of a sample, in vectors and in thumbnails; of the copies that are found at all nine in ten come first
)
_NEAR = (
    0.2  # whitened cosine; unrelated samples lie at 0 with a spread of 1 / sqrt(256), copies mostly above 0.4
)
_NEAR_THUMBNAIL = 0.8  # correlation; the copies that thumbnails find and vectors do not lie at 0.97 and more
_SURE = (
    0.85  # whitened cosine of samples that cannot be looked at; no other pair of three image sets reached it
)
_FEWEST_AXES = 32  # in few dimensions chance reaches that too
_NEIGHBOURS_WITHIN = 2  # of other labels in a sample's own group, beside those elsewhere
_ROWS_AT_ONCE = 16_384
_PAIRS_AT_ONCE = 64  # 4 MB of intermediate pictures, which stays near a core

Pairs: TypeAlias = NDArray[np.intp]
Rows: TypeAlias = slice | NDArray[np.intp]
Similarity: TypeAlias = Callable[[Rows, Rows], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearCopies:
    """Pairs of samples that are one sample, edited.

    Parameters
    ----------
    pairs : ndarray of int, shape (p, 2)
        Positions ``i < j``, the surest pair first. Of exact copies the first stands for all; pairs of exact copies are not in
        it.
    similarity : ndarray of float32, shape (p,)
        Whitened cosine of the vectors, -1 to 1.
    agreement : ndarray of float32, shape (p,)
        0 to 1: correlation of the details of pictures, or the weighted share of words; NaN where the samples could not be
        looked at.
    clusters : ndarray of int, shape (n,)
        A number for each set of near-copies and exact copies, kept small as :func:`fold_units` says.
    n_apart : int
        Pairs that are not in one cluster, because it would have become too large.
    n_unseen : int
        Distinct samples that have a vector and could not be looked at.
    """

    pairs: Pairs
    similarity: NDArray[np.float32]
    agreement: NDArray[np.float32]
    clusters: NDArray[np.intp]
    n_apart: int = 0
    n_unseen: int = 0

    def __len__(self) -> int:
        return len(self.pairs)


def near_copies(
    vectors: NDArray[np.float32],
    samples: Sequence[Any],
    *,
    modality: str | None,
    keys: Keys | None = None,
    groups: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    preprocess: ImagePreprocess | None = None,
    n_threads: int | None = None,
    verbose: bool | None = False,
) -> NearCopies:
    """Find near-copies: every sample is compared with every other by its vector, in blocks, and the nearest ones are looked at.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        Of one feature space. A sample whose row has a NaN is no near-copy.
    samples : sequence of n
        From :func:`featx.inputs.samples.as_samples` or :func:`featx.inputs.texts.as_texts`. Pictures are read again, each
        once. Pairs with a sample that cannot be looked at are judged by their vectors alone, by a stricter bound.
    modality : "image", "text" or None
        None for a plain matrix, whose rows have no near-copies: nothing could confirm them.
    keys : ndarray of uint8, shape (n, 16), optional
        Content digests, zeros where a sample could not be read. Without them exact copies come out as near-copies.
    groups : array-like of shape (n,), optional
        Two samples of one group are no finding, unless their labels differ.
    labels : array-like of shape (n,), optional
        Without them nothing is looked for within a group.
    preprocess : ImagePreprocess, optional
        What decides how samples become pixels, such as the ground under transparent ones.
    n_threads : int, optional
        Threads that read and compare pictures; None takes one a core.
    verbose : bool or None
        As ``enabled`` of :func:`featx.progress.progress_bar`.

    Raises
    ------
    ParameterError
        Not a row, sample and key each, or an unknown modality.
    DatasetError
        Groups are missing.
    """
    n = len(samples)
    _check(vectors, n, modality, keys)
    contents = _contents(keys, n)
    if modality is None:
        nothing = np.zeros(0, dtype=np.float32)
        clusters = join_units(n, [contents], _no_pairs())
        return NearCopies(pairs=_no_pairs(), similarity=nothing, agreement=nothing, clusters=clusters)
    first = np.sort(np.unique(contents, return_index=True)[1])  # where each distinct sample stands
    first = first[finite_rows(vectors)[first]]
    apart = np.arange(len(first)) if groups is None else check_groups(groups, n)[first]
    known = None if labels is None or groups is None else np.unique(labels, return_inverse=True)[1][first]
    search = _Search(apart=apart, labels=known)
    given = (as_samples if modality == "image" else as_texts)(samples, keep_errors=True)
    distinct = [given[i] for i in first.tolist()]
    white = whiten(np.asarray(vectors if len(first) == n else vectors[first], dtype=np.float32))
    with progress_bar(len(first), "comparing vectors", verbose) as progress:
        near = search.pairs(lambda rows, columns: white[rows] @ white[columns].T, _NEAR, progress)
    if modality == "image":
        threads = cpu_threads() if n_threads is None else n_threads
        found, agreement, copies, seen = _look_at_pictures(
            distinct, near, search, preprocess, threads, verbose
        )
    else:
        found, agreement, copies, seen = _look_at_texts(distinct, near, search)
    similarity = _similarities(white, found)
    both_seen = seen[found].all(axis=1)
    sure = (similarity >= _SURE) & (white.shape[1] >= _FEWEST_AXES)
    kept = np.flatnonzero(np.where(both_seen, copies, sure))
    strength = np.where(both_seen, agreement, similarity)[kept]
    kept = kept[np.argsort(-strength, kind="stable")]
    pairs = first[found[kept]]
    clusters = join_units(n, [contents], pairs)
    return NearCopies(
        pairs=pairs,
        similarity=similarity[kept],
        agreement=np.where(both_seen, agreement, np.nan)[kept].astype(np.float32),
        clusters=clusters,
        n_apart=int((clusters[pairs[:, 0]] != clusters[pairs[:, 1]]).sum()),
        n_unseen=int((~seen).sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """Which pairs of distinct samples are looked for.

    Parameters
    ----------
    apart : ndarray of int, shape (m,)
        Samples of one number are no finding ...
    labels : ndarray of int, shape (m,), or None
        ... unless their labels differ.
    """

    apart: NDArray[np.intp]
    labels: NDArray[np.intp] | None

    def pairs(self, similarity: Similarity, at_least: float, progress: Progress) -> Pairs:
        """The nearest of every sample elsewhere, and of other labels in its own group.

        The two are looked for apart: slices of one patient with two labels would take all places among the nearest.
        """
        found = [nearest_pairs(similarity, self.apart, _NEIGHBOURS, at_least, progress=progress)]
        for members, labels in self._mixed():

            def within(
                rows: slice, columns: slice, members: NDArray[np.intp] = members
            ) -> NDArray[np.float32]:
                return similarity(members[rows], members[columns])

            found.append(members[nearest_pairs(within, labels, _NEIGHBOURS_WITHIN, at_least)])
        return np.unique(np.concatenate(found), axis=0)

    def wants(self, i: int, j: int) -> bool:
        """Whether a pair would be a finding."""
        differ = self.labels is not None and self.labels[i] != self.labels[j]
        return bool(differ or self.apart[i] != self.apart[j])

    def _mixed(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Groups with several labels: their samples in ascending order, and the label of each."""
        if self.labels is None:
            return
        order = np.argsort(self.apart, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(self.apart[order])) + 1):
            labels = self.labels[members]
            if (labels != labels[:1]).any():
                yield members, labels


def fold_units(
    groups: ArrayLike | None, keys: Keys | None, near: NearCopies | None, n_samples: int
) -> NDArray[np.intp]:
    """What folds are to keep together: groups, and whatever copies and near-copies tie to them.

    Groups and exact copies are joined however large that becomes; near-copies, the surest first, only while a unit holds at
    most the largest of those and 10 samples or 2 % of all more (:mod:`featx.evaluation.units` says why).

    Parameters
    ----------
    groups : array-like of shape (n_samples,), optional
    keys : ndarray of uint8, shape (n_samples, 16), optional
        Content digests.
    near : NearCopies, optional
    n_samples : int

    Returns
    -------
    ndarray of int, shape (n_samples,)
        Counted from 0 in order of appearance. Pairs of ``near`` with two numbers were left apart.
    """
    given = [_contents(keys, n_samples)]
    if groups is not None:
        given.append(check_groups(groups, n_samples))
    return join_units(n_samples, given, _no_pairs() if near is None else near.pairs)


def _look_at_pictures(
    samples: Sequence[Any],
    near: Pairs,
    search: _Search,
    preprocess: ImagePreprocess | None,
    n_threads: int,
    verbose: bool | None,
) -> tuple[Pairs, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """All candidates, their agreement, which are copies, and which samples could be read."""
    with progress_bar(len(samples), "reading thumbnails", verbose) as progress:
        pictures, seen = thumbnails(
            samples, SIDE_PX, preprocess=preprocess, n_threads=n_threads, progress=progress
        )
    with progress_bar(len(samples), "comparing thumbnails", verbose) as progress:
        found = _joined(near, _nearest_thumbnails(pictures, seen, search, progress))
    agreement = np.zeros(len(found), dtype=np.float32)
    copies = np.zeros(len(found), dtype=np.bool_)
    visible = np.flatnonzero(seen[found].all(axis=1))
    with (
        progress_bar(len(visible), "comparing pictures", verbose) as progress,
        ThreadPoolExecutor(n_threads, "featx-compare") as pool,
    ):

        def look(start: int) -> None:
            part = visible[start : start + _PAIRS_AT_ONCE]
            one, other = found[part].T
            compared = compare(pictures[one], pictures[other])
            agreement[part], copies[part] = compared.details, compared.copies
            progress.update(len(part))

        for _ in pool.map(look, range(0, len(visible), _PAIRS_AT_ONCE)):
            pass
    return found, agreement, copies, seen


def _nearest_thumbnails(
    pictures: NDArray[np.uint8], seen: NDArray[np.bool_], search: _Search, progress: Progress
) -> Pairs:
    """Pairs whose coarse thumbnails agree, as they are or mirrored.

    A picture is the sum of an even half, equal to its mirror image, and an odd one, the negative of it: the products of the
    halves add up to the product with the other picture, and their difference is that with its mirror image.
    """
    small = np.concatenate([coarse(part) for part in np.array_split(pictures, len(pictures) // 1024 + 1)])
    small -= small.mean(axis=(1, 2), keepdims=True)
    small[~seen] = 0
    rows = unit_rows(small.reshape(len(small), -1)).reshape(-1, COARSE_PX, COARSE_PX)
    side = COARSE_PX // 2
    left, right = rows[:, :, :side], rows[:, :, : side - 1 : -1]
    even = np.ascontiguousarray(left + right).reshape(len(rows), -1) / np.float32(np.sqrt(2))
    odd = np.ascontiguousarray(left - right).reshape(len(rows), -1) / np.float32(np.sqrt(2))

    def similarity(one: Rows, other: Rows) -> NDArray[np.float32]:
        product: NDArray[np.float32] = np.matmul(odd[one], odd[other].T)
        np.abs(product, out=product)
        product += np.matmul(even[one], even[other].T)
        return product

    return search.pairs(similarity, _NEAR_THUMBNAIL, progress)


def _look_at_texts(
    samples: Sequence[Any], near: Pairs, search: _Search
) -> tuple[Pairs, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """As of pictures; texts of the same words are candidates wherever their vectors lie."""
    words = [words_of(sample) if isinstance(sample, str) else () for sample in samples]
    firsts: dict[tuple[str, ...], int] = {}
    same = [(firsts.setdefault(text, i), i) for i, text in enumerate(words) if text]
    equal = np.asarray([pair for pair in same if search.wants(*pair)], dtype=np.intp).reshape(-1, 2)
    found = _joined(near, equal)
    agreement = text_agreement(words, found)
    seen = np.asarray([isinstance(sample, str) for sample in samples], dtype=np.bool_)
    return found, agreement, agreement >= COPY_AT, seen


def _similarities(white: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        one, other = pairs[start : start + _ROWS_AT_ONCE].T
        found[start : start + _ROWS_AT_ONCE] = np.einsum("ij,ij->i", white[one], white[other])
    return found


def _joined(one: Pairs, other: Pairs) -> Pairs:
    return np.unique(np.concatenate([one, other]), axis=0)


def _no_pairs() -> Pairs:
    return np.zeros((0, 2), dtype=np.intp)


def _contents(keys: Keys | None, n: int) -> NDArray[np.intp]:
    """A number for each distinct content; one of its own where the content is unknown: no keys, or a key of zeros."""
    if keys is None:
        return np.arange(n)
    numbers = np.unique(np.asarray(keys), axis=0, return_inverse=True)[1].reshape(-1).astype(np.intp)
    unknown = np.flatnonzero(~np.asarray(keys).any(axis=1))
    numbers[unknown] = n + unknown
    return numbers


def _check(vectors: NDArray[np.float32], n: int, modality: str | None, keys: Keys | None) -> None:
    if modality not in ("image", "text", None):
        raise ParameterError(f"modality={modality!r}: expected 'image', 'text' or None.")
    if vectors.ndim != 2 or len(vectors) != n:
        raise ParameterError(
            f"vectors: expected {n} rows, one a sample; found an array of shape {vectors.shape}."
        )
    if keys is not None and len(keys) != n:
        raise ParameterError(f"keys: expected {n}, one a sample; found {len(keys)}.")
