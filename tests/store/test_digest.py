"""Content digests: equal content, equal digest; different kinds of content, different digests."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featx.errors import ParameterError
from featx.store.digest import (
    canonical_json,
    digest_array,
    digest_bytes,
    digest_file,
    digest_json,
    digest_many,
    digest_text,
    keys_array,
)


@pytest.mark.parametrize("n_bytes", [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 3_000_001])
def test_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path, n_bytes: int) -> None:
    data = random.Random(n_bytes).randbytes(n_bytes)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data) == digest_bytes(memoryview(data))


def test_digest_of_bytes_is_blake3() -> None:
    # From the official test vectors of BLAKE3 (test_vectors.json): input of one zero byte.
    assert digest_bytes(b"\x00").hex() == "2d3adedff11b61f14c886e35afa03673"


def test_digests_of_arrays_and_texts_do_not_change() -> None:
    # Written down once: the store of last year must answer today.
    assert (
        digest_array(np.arange(6, dtype=np.uint8).reshape(2, 3)).hex() == "bee8e89726391b6dc5610a017a967666"
    )
    assert digest_text("Grüße").hex() == "ba86de5be2011862ded1f7b6813917b6"
    assert (
        digest_json({"tap": "pooled", "size": [224, 224], "scale": 0.5}) == "a46175dded69744d8617ab565a044647"
    )


def test_many_short_pieces_have_the_digests_of_each() -> None:
    parts = [b"", b"a", b"bc" * 100]
    assert (digest_many(iter(parts)) == keys_array(map(digest_bytes, parts))).all()


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=4)))
def test_an_array_never_has_the_digest_of_its_buffer(array: np.ndarray) -> None:
    assert digest_array(array) != digest_bytes(array.tobytes())


@given(hnp.arrays(st.sampled_from([np.int16, np.float32]), (3, 4)))
def test_memory_layout_and_byte_order_do_not_matter(array: np.ndarray) -> None:
    expected = digest_array(array)
    assert digest_array(np.asfortranarray(array)) == expected
    assert digest_array(np.repeat(array, 2, axis=1)[:, ::2]) == expected
    assert digest_array(array.astype(array.dtype.newbyteorder())) == expected


def test_dtype_and_shape_matter() -> None:
    array = np.zeros((2, 6), np.uint8)
    others = [array.reshape(6, 2), array.reshape(12), array.view(np.uint16), array.astype(np.int8), array[:0]]
    assert len({digest_array(other) for other in [array, *others]}) == 6


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["a"]), np.zeros(2, "V8")])
def test_arrays_that_do_not_hold_numbers_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="expected booleans, integers, floats"):
        digest_array(array)


@given(st.text(st.characters(exclude_categories=[])))
def test_a_text_never_has_the_digest_of_its_bytes(text: str) -> None:
    assert digest_text(text) != digest_bytes(text.encode("utf-8", "surrogatepass"))


def test_texts_with_lone_surrogates_are_told_apart() -> None:
    assert digest_text("\ud800") != digest_text("\udfff")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=4))
def test_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: 2}, [{"a": {None: 1}}], {1, 2}, b"x", np.float32(1), object()]
)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ParameterError, match="not expressible as JSON"):
        canonical_json(value)


def test_keys_array_is_writable_and_may_be_empty() -> None:
    keys = keys_array([digest_bytes(b"a"), digest_bytes(b"b")])
    keys[0, 0] = 1
    assert keys.shape == (2, 16)
    assert keys_array([]).shape == (0, 16)


def test_keys_array_names_the_digest_of_another_length() -> None:
    with pytest.raises(ParameterError, match="digest 1 has 15 bytes, expected 16"):
        keys_array([bytes(16), bytes(15), bytes(17)])
