"""Texts are tokenised once they must be computed, longest first, and counted where they are cut off."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import DigestMismatchError, SampleError
from featx.inference.cut_texts import CutTexts
from featx.inference.lanes import Job
from featx.inference.reading import SampleReader, Source
from featx.inference.text_reading import TextReader, TextSource
from featx.inputs.samples import DigestSample
from featx.inputs.texts import TextTokenizer
from featx.store.digest import digest_text, keys_array
from featx.testing import tiny_text_backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_backbone(tmp_path_factory.mktemp("tiny") / "tiny")


def source_of(folder: Path, **changes: Any) -> TextSource:
    text = TextPreprocess.from_folder(folder)
    assert text is not None
    text = dataclasses.replace(text, **changes)
    return TextSource(folder / "tokenizer.json", text, CutTexts(text, None))


def jobs_of(texts: list[Any]) -> list[Job]:
    """A job for each distinct text, as the loop makes them."""
    jobs: dict[bytes, Job] = {}
    for at, text in enumerate(texts):
        if isinstance(text, str):
            jobs.setdefault(digest_text(text), Job(key=digest_text(text), indices=[])).indices.append(at)
    return list(jobs.values())


def test_sources_and_readers_have_the_protocols_of_the_loop(folder: Path) -> None:
    source: Source = source_of(folder)
    with source.open(["a"], n_workers=2) as reader:
        opened: SampleReader = reader
        assert isinstance(opened, TextReader)
    assert source.strings_are_paths is False


@given(st.lists(st.text(alphabet="ab c", max_size=40), max_size=30))
def test_jobs_are_prepared_longest_first_and_keep_their_ids(folder: Path, texts: list[str]) -> None:
    source = source_of(folder)
    tokenizer = TextTokenizer(source.tokenizer_path, source.preprocess)
    jobs = jobs_of(texts)
    with source.open(texts, 1) as reader:
        prepared = reader.prepared(jobs)
        lengths = [job.length for job in prepared]
        assert lengths == sorted(lengths, reverse=True)
        assert sorted(job.key for job in prepared) == sorted(job.key for job in jobs)
        for job in prepared:
            (expected,) = tokenizer.encode([texts[job.indices[0]]])[0]
            found = reader.network_input(job.indices[0], job.content, job.key)
            np.testing.assert_array_equal(found, expected, strict=True)
            assert job.length == len(expected)


def test_texts_of_one_length_stay_in_their_order(folder: Path) -> None:
    texts = ["ccc", "b", "aaa", "long one", "a", "bbb"]
    with source_of(folder).open(texts, 1) as reader:
        prepared = reader.prepared(jobs_of(texts))
    assert [texts[job.indices[0]] for job in prepared] == ["long one", "ccc", "aaa", "bbb", "b", "a"]


def test_texts_that_are_cut_off_are_remembered_over_all_windows(folder: Path) -> None:
    source, texts = source_of(folder, max_length=5), ["abc", "abcd", "a", "abcd", "zzzzzzzz"]
    jobs = jobs_of(texts)
    keys = keys_array(map(digest_text, texts))
    with source.open(texts, 1) as reader:
        reader.prepared(jobs[:2])
        assert source.cut.count(keys) == 2  # "abcd", which is there twice
        reader.prepared(jobs[2:])
        reader.prepared([])
    assert source.cut.count(keys) == 3


def test_a_text_read_again_is_the_same(folder: Path) -> None:
    texts = ["x", "why\ud800"]
    with source_of(folder).open(texts, 1) as reader:
        (job,) = reader.prepared(jobs_of(texts)[1:])
        ids, key = reader.read_again(1)
    assert key == job.key == digest_text(texts[1])
    np.testing.assert_array_equal(ids, job.content, strict=True)


def test_nothing_is_read_ahead(folder: Path) -> None:
    with source_of(folder).open(["a", "b"], 1) as reader:
        assert list(reader.begin(np.arange(2))) == []


def test_a_text_without_tokens_is_refused_by_its_position(folder: Path) -> None:
    with (
        source_of(folder).open(["a", ""], 1) as reader,
        pytest.raises(SampleError, match="finds no token in it") as caught,
    ):
        reader.network_input(1, np.empty(0, np.int32), b"")
    assert caught.value.index == 1


def test_a_text_is_named_by_its_position_and_never_by_its_words(folder: Path) -> None:
    source = source_of(folder)
    assert source.name_of("patient zero", 7) == "text 7"
    digest = DigestSample(bytes(16))
    assert str(digest) in source.name_of(digest, 3)


def test_a_tokenizer_that_changed_is_refused_before_anything_is_computed(folder: Path) -> None:
    with pytest.raises(DigestMismatchError, match=r"tokenizer\.json: changed since it was opened"):
        source_of(folder, tokenizer="0" * 32).open(["a"], 1)


def test_windows_are_all_that_is_left_in_its_order(folder: Path) -> None:
    rng = np.random.default_rng(0)
    # What is no text has been answered before, and is not left.
    texts = ["a" * int(n) for n in rng.integers(0, 2000, 500)] + [DigestSample(bytes(16)), SampleError("no")]
    left = np.flatnonzero(rng.random(500) < 0.7)
    with source_of(folder).open(texts, 1) as reader:
        windows, found, rest = reader.windows(left, n_features=16, batch_size=8), [], left
        while len(rest):
            window, rest = windows.cut(rest)
            assert len(window)
            found.append(window)
    np.testing.assert_array_equal(np.concatenate(found), left)
    assert len(found) > 1
    assert max(map(len, found)) < len(left)
