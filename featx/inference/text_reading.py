"""Texts tokenised and put in order ahead of their computation.

A text is its own content, so nothing is read: its digest is known at once, and only those that no lookup answers are tokenised.
The texts of a window are computed longest first, so that runs hold texts of nearly one length and the lanes end together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import SampleError
from featx.inference.cut_texts import CutTexts
from featx.inference.lanes import Job
from featx.inference.reading import Reading
from featx.inference.windows import TextWindows
from featx.inputs.samples import sample_name
from featx.inputs.texts import TextTokenizer
from featx.store.digest import digest_text

__all__ = ["TextReader", "TextSource"]

_NO_TOKENS = (
    "the tokenizer finds no token in it, so there is nothing to embed. Leave it out, or give a prompt."
)


@dataclass(frozen=True, slots=True)
class TextSource:
    """Texts, and which of them were cut off.

    Parameters
    ----------
    tokenizer_path : Path
    preprocess : TextPreprocess
    cut : CutTexts
        Told which texts were longer than the longest input.
    strings_are_paths : bool
        They are texts.
    """

    tokenizer_path: Path
    preprocess: TextPreprocess
    cut: CutTexts
    strings_are_paths: bool = False

    def name_of(self, sample: Any, index: int) -> str:
        """Its position: a text is no name, and may be private."""
        return f"text {index}" if isinstance(sample, str) else sample_name(sample, index)

    def open(self, samples: Sequence[Any], n_workers: int) -> TextReader:
        """A reader of these samples."""
        return TextReader(samples, self, TextTokenizer(self.tokenizer_path, self.preprocess))


class TextReader:
    """Tokenises what must be computed. A context manager, as readers are; it holds nothing open.

    Parameters
    ----------
    samples : sequence
        From :func:`featx.inputs.texts.as_texts`.
    source : TextSource
        Told which texts were cut off.
    tokenizer : TextTokenizer
    """

    def __init__(self, samples: Sequence[Any], source: TextSource, tokenizer: TextTokenizer) -> None:
        self._samples = samples
        self._source = source
        self._tokenizer = tokenizer

    def windows(self, left: NDArray[np.intp], *, n_features: int, batch_size: int) -> TextWindows:
        """In which portions to compute the samples that are left: by their characters."""
        lengths = np.zeros(len(self._samples), dtype=np.int64)
        lengths[left] = [len(self._samples[i]) for i in left.tolist()]
        return TextWindows(lengths, n_features=n_features)

    def begin(self, indices: NDArray[np.intp]) -> Reading:
        """Nothing: every text is known."""
        return Reading()

    def prepared(self, jobs: list[Job]) -> list[Job]:
        """The jobs of a window with their token ids, longest first."""
        ids, cut = self._tokenizer.encode([self._samples[job.indices[0]] for job in jobs])
        self._source.cut.remember(jobs[at].key for at in cut)
        for job, found in zip(jobs, ids, strict=True):
            job.content, job.length = found, len(found)
        return sorted(jobs, key=lambda job: -job.length)

    def read_again(self, index: int) -> tuple[Any, bytes]:
        """Token ids of a text and its digest."""
        text = self._samples[index]
        return self._tokenizer.encode([text])[0][0], digest_text(text)

    def network_input(self, index: int, content: Any, key: bytes) -> NDArray[np.int32]:
        """Token ids int32 (t,) of a job.

        Raises
        ------
        SampleError
            A text without tokens.
        """
        if not len(content):
            raise SampleError(_NO_TOKENS, index=index)
        return np.asarray(content, dtype=np.int32)

    def __enter__(self) -> TextReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""
