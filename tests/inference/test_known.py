"""What is known of samples without reading them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from featx import EmbeddingStore
from featx.errors import SampleError
from featx.inference.known import known_keys
from featx.inputs.samples import DigestSample
from featx.store.digest import digest_bytes, digest_text, keys_array
from featx.store.files import FileDigests


def test_texts_and_digests_are_known_and_pictures_are_not() -> None:
    broken = SampleError("is broken.")
    samples = ["a text", DigestSample(bytes(range(16))), np.zeros((2, 2, 3), np.uint8), broken]
    found = known_keys(samples, FileDigests(None), strings_are_paths=False)
    np.testing.assert_array_equal(found.known, [True, True, False, False])
    np.testing.assert_array_equal(found.keys[:2], keys_array([digest_text("a text"), bytes(range(16))]))
    assert found.errors == {3: broken}


def test_a_file_is_known_once_it_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"content")
    now = time.time_ns()
    monkeypatch.setattr(
        time, "time_ns", lambda: now + 3_000_000_000
    )  # a file just changed is never remembered
    files = FileDigests(EmbeddingStore(tmp_path / "store"))
    new = known_keys([file], files, strings_are_paths=True)
    assert not new.known[0]
    keys = keys_array([digest_bytes(b"content")])
    files.remember(new.identities, keys)
    again = known_keys([file], files, strings_are_paths=True)
    assert again.known[0]
    np.testing.assert_array_equal(again.keys, keys)


@pytest.mark.parametrize(("name", "words"), [("gone.png", "no such file"), ("", "is a folder")])
def test_what_is_no_file_is_told_of(tmp_path: Path, name: str, words: str) -> None:
    found = known_keys([tmp_path / name], FileDigests(None), strings_are_paths=True)
    assert not found.known[0]
    assert not found.identities[0].any()
    assert words in found.errors[0].message
