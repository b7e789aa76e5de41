"""A long text's first tokens are those of its beginning, exactly, or the whole is tokenised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from featx.backbones.text_preprocess import TextPreprocess
from featx.inputs.long_texts import beginning, keeps_words_apart
from featx.inputs.texts import TextTokenizer
from featx.store.digest import digest_file

WORDS = [
    "a",
    "of",
    "late,",
    "again",
    "caf\u00e9",
    "e\u0301",
    "\u4e2d\u6587",
    "don't",
    "7",
    "--",
    "\u2581",
    "\u0301",
    "[SEP]",
]
GAPS = [" ", "  ", "\n", " \n ", "\t", "\u00a0", "\u3000", " \u200b", ""]


def word_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        WORDS * 9, trainers.WordPieceTrainer(vocab_size=80, special_tokens=["[UNK]", "[CLS]", "[SEP]"])
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def bytes_in_pairs() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([" ".join(WORDS)] * 9, trainer)
    return tokenizer


def sentence_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    steps = [normalizers.NFKC(), normalizers.Replace(_spaces(), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator([" ".join(WORDS)] * 9, trainer)
    return tokenizer


def _spaces() -> Any:
    from tokenizers import Regex

    return Regex(" {2,}")


@pytest.fixture(
    scope="module", params=[word_pieces, bytes_in_pairs, sentence_pieces], ids=lambda make: make.__name__
)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    request.param().save(str(path))
    return path


@given(
    words=st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), min_size=1, max_size=300),
    max_length=st.integers(3, 12),
)
def test_ids_are_those_of_the_whole_text(path: Path, words: list[tuple[str, str]], max_length: int) -> None:
    text = "".join(word + gap for word, gap in words)
    whole = Tokenizer.from_file(str(path))
    whole.enable_truncation(max_length)
    expected = whole.encode(text)
    preprocess = TextPreprocess(tokenizer=digest_file(path).hex(), max_length=max_length)
    (ids,), cut = TextTokenizer(path, preprocess).encode([text])
    assert ids.tolist() == expected.ids
    assert cut == ([0] if expected.overflowing else [])


def test_these_tokenizers_keep_words_apart(path: Path) -> None:
    assert keeps_words_apart(json.loads(path.read_text(encoding="utf-8")))


def test_a_beginning_of_one_long_word_is_not_enough(path: Path) -> None:
    text = "\u4e2d" + "x" * 5000 + " a b c"
    whole = Tokenizer.from_file(str(path))
    whole.enable_truncation(8)
    preprocess = TextPreprocess(tokenizer=digest_file(path).hex(), max_length=8)
    (ids,), _ = TextTokenizer(path, preprocess).encode([text])
    assert ids.tolist() == whole.encode(text).ids


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Metaspace", "split": False}},
        {"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Punctuation"}, {"type": "Whitespace"}],
            }
        },
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(?=end)"}, "content": ""}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Unheard"}]}},
        {"added_tokens": [{"content": "two words"}]},
    ],
)
def test_tokenizers_that_may_look_across_a_space_get_the_whole_text(change: dict[str, Any]) -> None:
    config = {"normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": []}
    assert keeps_words_apart(config)
    assert not keeps_words_apart(config | change)


@pytest.mark.parametrize("text", ["", "short", "x" * 10_000, "x\n" * 10_000, "  " + "\u4e2d" * 10_000])
def test_what_is_short_or_has_no_space_in_its_place_is_its_own_beginning(text: str) -> None:
    assert beginning(text, 8) is text


def test_a_beginning_ends_before_the_space_behind_a_word() -> None:
    text = "word  " * 1000
    head = beginning(text, 8)
    assert 128 <= len(head) < 140
    assert head.endswith("word")
    assert text[len(head)] == " "
