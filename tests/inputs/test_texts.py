"""X becomes texts in its order, and texts the token ids of the publisher's tokenizer: cut off, counted, and never changed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import DigestMismatchError, InputError, PreprocessError, SampleError
from featx.inputs.samples import DigestSample
from featx.inputs.texts import TextTokenizer, as_texts
from featx.store.digest import digest_file
from featx.testing import tiny_text_backbone

TEXTS = ["late again", "", "Größe \N{SNOWMAN}"]
PAD, UNKNOWN, CLS, SEP = range(4)  # ids of the tiny tokenizer; then letters and digits


class TestAsTexts:
    """What X may be."""

    @pytest.mark.parametrize(
        "X",
        [
            TEXTS,
            tuple(TEXTS),
            [np.str_(text) for text in TEXTS],
            np.array(TEXTS),
            np.array(TEXTS, dtype=object),
            np.array(TEXTS, dtype=object)[:, None],
            np.array(TEXTS, dtype=np.dtypes.StringDType()),
            [np.array(text) for text in TEXTS],
            pd.Series(TEXTS),
            pd.Series(TEXTS, dtype="category"),
            pd.Series(TEXTS, dtype=object, index=[5, 5, 0]),
            pd.DataFrame({"text": TEXTS}),
            pl.Series(TEXTS),
            pl.Series(TEXTS, dtype=pl.Categorical),
            pl.DataFrame({"text": TEXTS}),
        ],
        ids=lambda X: f"{type(X).__module__.split('.')[0]}.{type(X).__name__}",
    )
    def test_every_container_gives_the_same_strings(self, X: Any) -> None:
        found = as_texts(X)
        assert list(found) == TEXTS
        assert {type(text) for text in found} == {str}

    def test_a_list_of_strings_is_returned_itself(self) -> None:
        assert as_texts(TEXTS) is TEXTS

    @given(st.lists(st.text(st.characters(exclude_categories=())), min_size=1, max_size=20))
    def test_any_string_is_a_text_unchanged(self, texts: list[str]) -> None:
        assert as_texts(texts) == texts

    @pytest.mark.parametrize(
        "text",
        [
            "digest:",
            "digest:0123",
            "digest:" + "0" * 31,
            "digest:" + "0" * 33,
            "digest:" + "A" * 32,
            "digest:" + "g" * 32,
            "digest:" + "0" * 32 + "\n",
            " digest:" + "0" * 32,
            "Digest:" + "0" * 32,
        ],
    )
    def test_only_a_whole_digest_is_one(self, text: str) -> None:
        assert as_texts([text]) == [text]

    @given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20))
    def test_digests_are_read_from_their_text(self, keys: list[bytes]) -> None:
        digests = [DigestSample(key) for key in keys]
        names = [str(digest) for digest in digests]
        assert as_texts(names) == digests
        assert as_texts(["a", *names, "b"]) == ["a", *digests, "b"]
        assert as_texts(digests) == digests
        assert as_texts(np.array(names)) == digests

    def test_a_list_with_digests_is_not_changed(self) -> None:
        given_names = ["digest:" + "0" * 32, "a"]
        as_texts(given_names)
        assert given_names == ["digest:" + "0" * 32, "a"]

    @pytest.mark.parametrize(
        "value",
        [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.array(None, dtype=object)],
        ids=repr,
    )
    def test_a_missing_text_is_named_by_its_position(self, value: Any) -> None:
        with pytest.raises(
            SampleError, match=r"^sample 1 \(index 1\): the text is missing .*no text"
        ) as caught:
            as_texts(["a", value, "b"])
        assert caught.value.index == 1

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (3, "int"),
            (2.5, "float"),
            (True, "bool"),
            (b"bytes", "bytes"),
            (["nested"], "list"),
            (Path("a.txt"), "PosixPath|WindowsPath"),
            (np.array(["a", "b"]), "ndarray"),
            (np.int64(3), "int64"),
            (pd.Timestamp("2020-01-01"), "Timestamp"),
        ],
        ids=repr,
    )
    def test_what_is_no_text_is_named_by_its_position_and_type(self, value: Any, kind: str) -> None:
        with pytest.raises(SampleError, match=rf"sample 1 \(index 1\): expected a string, found ({kind})\."):
            as_texts(["a", value])

    def test_errors_are_kept_in_their_places(self) -> None:
        found = as_texts(["a", None, "digest:" + "1" * 32, 3, "b"], keep_errors=True)
        assert [type(one) for one in found] == [str, SampleError, DigestSample, SampleError, str]
        assert [one.index for one in found if isinstance(one, SampleError)] == [1, 3]
        assert as_texts(found, keep_errors=True) == found

    @pytest.mark.parametrize("column", ["object", "string"])
    def test_missing_values_of_columns(self, column: str) -> None:
        for X in (pd.Series(["a", None], dtype=column), pl.Series(["a", None])):
            with pytest.raises(SampleError, match=r"index 1.*missing"):
                as_texts(X)
            kept = as_texts(X, keep_errors=True)
            assert kept[0] == "a"
            assert isinstance(kept[1], SampleError)

    @pytest.mark.parametrize(
        ("X", "says"),
        [
            ("a text", r"single text.*give \[X\]"),
            (DigestSample(bytes(16)), r"single text.*give \[X\]"),
            (b"bytes", r"bytes, expected a list of strings.*decode"),
            (bytearray(b"a"), "bytes, expected"),
            (memoryview(b"a"), "bytes, expected"),
        ],
    )
    def test_a_single_text_is_no_list(self, X: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            as_texts(X)

    @pytest.mark.parametrize(
        ("X", "says"),
        [
            ([], "X is empty"),
            (np.array([], dtype=str), "X is empty"),
            (pd.Series([], dtype=object), "X is empty"),
            (np.zeros((3, 2)), "float64 array.*frame of strings"),
            (pd.DataFrame({"text": ["a"], "id": [1]}), r"2 columns \(text, id\).*TextFeatures"),
            (np.array([b"a"]), r"give numpy\.char\.decode\(X"),
            ({"text": ["a"]}, r"give list\(X\) of strings"),
        ],
        ids=str,
    )
    def test_what_is_no_column_of_texts_is_refused(self, X: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            as_texts(X)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_backbone(tmp_path_factory.mktemp("tiny") / "tiny")


def opened(folder: Path, **changes: Any) -> TextTokenizer:
    """The tokenizer of a folder, its preprocessing changed."""
    text = TextPreprocess.from_folder(folder)
    assert text is not None
    return TextTokenizer(folder / "tokenizer.json", dataclasses.replace(text, **changes))


def changed(folder: Path, target: Path, **parts: Any) -> Path:
    """A folder whose tokenizer has other parts."""
    target.mkdir()
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")) | parts
    (target / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return target


def ids_of(tokenizer: TextTokenizer, *texts: str) -> list[list[int]]:
    return [ids.tolist() for ids in tokenizer.encode(texts)[0]]


def letters(text: str) -> list[int]:
    return [CLS, *(SEP + 1 + ord(letter) - ord("a") for letter in text), SEP]


class TestTextTokenizer:
    """Strings to ids."""

    def test_ids_are_those_of_tokenizers(self, folder: Path) -> None:
        plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts = ["Why?", "", "a\tb\n c", "x" * 62, "\N{SNOWMAN}", "\0", "[CLS]"]
        found, cut = opened(folder).encode(texts)
        assert [ids.tolist() for ids in found] == [plain.encode(text).ids for text in texts]
        assert {ids.dtype for ids in found} == {np.dtype(np.int32)}
        assert cut == []

    def test_more_texts_than_are_encoded_in_one_call_keep_their_order(self, folder: Path) -> None:
        texts = [chr(ord("a") + at % 26) * (1 + at % 7) for at in range(2500)]
        assert ids_of(opened(folder), *texts) == [letters(text) for text in texts]
        assert opened(folder).encode([]) == ([], [])

    @pytest.mark.parametrize("max_length", [3, 10, 64])
    def test_a_text_is_cut_off_and_counted_beyond_the_longest_length(
        self, folder: Path, max_length: int
    ) -> None:
        fitting = "a" * (max_length - 2)  # two special tokens
        texts = [fitting[:-1], fitting, fitting + "b", fitting + "b" * 5000]
        found, cut = opened(folder, max_length=max_length).encode(texts)
        assert [len(ids) for ids in found] == [max_length - 1, max_length, max_length, max_length]
        assert cut == [2, 3]
        # Cut off at its end, the special token behind it kept.
        assert found[2].tolist() == found[3].tolist() == letters(fitting)

    def test_texts_cut_off_are_named_by_their_positions_in_all(self, folder: Path) -> None:
        texts = ["a"] * 2500
        texts[3] = texts[1500] = texts[2499] = "a" * 100
        assert opened(folder, max_length=10).encode(texts)[1] == [3, 1500, 2499]

    def test_truncation_and_padding_in_the_file_do_not_count(self, folder: Path, tmp_path: Path) -> None:
        baked = changed(
            folder,
            tmp_path / "baked",
            truncation={"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            padding={
                "strategy": {"Fixed": 20},
                "direction": "Left",
                "pad_to_multiple_of": None,
                "pad_id": PAD,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
        )
        assert ids_of(opened(baked), "abcdef", "a") == [letters("abcdef"), letters("a")]
        assert ids_of(opened(baked, max_length=5), "abcdef") == [letters("abc")]

    @pytest.mark.parametrize("max_length", [1, 2])
    def test_a_length_that_special_tokens_fill_is_refused(self, folder: Path, max_length: int) -> None:
        with pytest.raises(PreprocessError, match=rf"max_length={max_length}: the tokenizer adds 2 tokens"):
            opened(folder, max_length=max_length)

    def test_a_prompt_stands_before_every_text_and_counts(self, folder: Path) -> None:
        assert ids_of(opened(folder, prompt="ask: "), "why", "") == ids_of(
            opened(folder), "ask: why", "ask: "
        )
        found, cut = opened(folder, prompt="ask", max_length=6).encode(["a", "ab"])
        assert [len(ids) for ids in found] == [6, 6]
        assert cut == [1]

    def test_lower_case_is_for_prompt_and_text(self, folder: Path, tmp_path: Path) -> None:
        cased = changed(folder, tmp_path / "cased", normalizer=None)
        assert ids_of(opened(cased), "AbÉ") == [[CLS, UNKNOWN, SEP + 2, UNKNOWN, SEP]]
        assert ids_of(opened(cased, lowercase=True, prompt="Q"), "AB") == [letters("qab")]
        assert ids_of(opened(cased, lowercase=False), "ab") == [letters("ab")]

    @pytest.mark.parametrize("codes", [[0xD800], [0xDFFF], [0xDC80], [0xD83D, 0xDE00]])
    def test_surrogates_are_read_as_replacement_characters(self, folder: Path, codes: list[int]) -> None:
        surrogate, replaced = "".join(map(chr, codes)), "\N{REPLACEMENT CHARACTER}" * len(codes)
        assert ids_of(opened(folder), f"caf{surrogate}é") == ids_of(opened(folder), f"caf{replaced}é")

    @given(st.lists(st.text(st.characters(exclude_categories=())), max_size=8))
    def test_any_text_has_ids_and_its_neighbours_do_not_matter(self, folder: Path, texts: list[str]) -> None:
        tokenizer = opened(folder, max_length=12)
        together = ids_of(tokenizer, *texts)
        assert together == [ids for text in texts for ids in ids_of(tokenizer, text)]
        assert all(2 <= len(ids) <= 12 for ids in together)

    def test_a_tokenizer_without_special_tokens_may_find_none(self, folder: Path, tmp_path: Path) -> None:
        bare = changed(folder, tmp_path / "bare", post_processor=None)
        assert ids_of(opened(bare, max_length=1), "", " ", "ab") == [[], [], [SEP + 1]]

    def test_a_file_that_changed_is_refused(self, folder: Path, tmp_path: Path) -> None:
        text = TextPreprocess.from_folder(folder)
        assert text is not None
        other = changed(folder, tmp_path / "other", normalizer=None) / "tokenizer.json"
        with pytest.raises(DigestMismatchError, match=f"expected digest {text.tokenizer}, found") as caught:
            TextTokenizer(other, text)
        assert str(other) in str(caught.value)

    def test_a_file_that_is_gone_is_named(self, folder: Path, tmp_path: Path) -> None:
        text = TextPreprocess.from_folder(folder)
        assert text is not None
        with pytest.raises(PreprocessError, match=r"tokenizer\.json: cannot be read"):
            TextTokenizer(tmp_path / "tokenizer.json", text)

    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{}", b'{"version": "1.0"}'])
    def test_a_file_that_is_no_tokenizer_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_bytes(content)
        text = TextPreprocess(tokenizer=digest_file(path).hex(), max_length=8)
        with pytest.raises(PreprocessError, match=r"tokenizer\.json: not a tokenizer"):
            TextTokenizer(path, text)

    def test_a_tokenizer_that_has_no_token_for_a_text_is_refused(self, folder: Path, tmp_path: Path) -> None:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        lacking = changed(folder, tmp_path / "lacking", model=tokenizer["model"] | {"unk_token": "<none>"})
        assert ids_of(opened(lacking), "ab") == [letters("ab")]
        with pytest.raises(PreprocessError, match="cannot encode one of the texts"):
            opened(lacking).encode(["ab", "é"])
