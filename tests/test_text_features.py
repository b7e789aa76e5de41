"""``TextFeatures``: conformance with scikit-learn, each text once, and what odd texts become."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from featx import EmbeddingStore, TextFeatures
from featx.errors import (
    DigestMismatchError,
    FeatxWarning,
    InputError,
    ParameterError,
    PreprocessError,
    SampleError,
    SpaceMismatchError,
)
from featx.inference.cut_texts import forget_told
from featx.testing import FeaturesConformance, counted_rows, tiny_text_backbone

# float32 kernels that sum in another order for another batch or padding: of the largest value.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_backbone(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """40 distinct texts of 1 to 40 words."""
    rng = np.random.default_rng(5)
    words = ["late", "bag", "thanks", "why", "7", "crew", "seat"]
    return [" ".join(rng.choice(words, n + 1)) for n in range(40)]


@pytest.fixture
def features(tiny: Path, tmp_path: Path) -> TextFeatures:
    return TextFeatures(tiny, cache=tmp_path / "cache", max_length=64)


@pytest.mark.filterwarnings("ignore:.* cut off at:featx.errors.FeatxWarning")
class TestTextFeatures(FeaturesConformance):
    @pytest.fixture
    def features(self, tiny: Path, tmp_path: Path) -> TextFeatures:
        return TextFeatures(tiny, cache=tmp_path / "cache")

    @pytest.fixture
    def samples(self, texts: list[str]) -> list[str]:
        return texts[:24]

    @pytest.fixture
    def taps(self) -> list[Any]:
        return ["layer1", "pooled", ["layer1", "pooled"]]


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> None:
    forget_told()


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, atol=TOLERANCE * float(np.abs(b).max()))


@pytest.mark.parametrize("batch_size", [1, 17, 64, 4096])
def test_neighbours_and_padding_do_not_change_a_vector(tiny: Path, batch_size: int) -> None:
    texts = ["a", "bb cc", "a long text of many more words", "", "x y z"]
    fitted = TextFeatures(tiny, cache=None, batch_size=batch_size).fit(None)
    close(fitted.transform(texts), np.concatenate([fitted.transform([text]) for text in texts]))


def test_containers_give_equal_rows(features: TextFeatures) -> None:
    texts = ["one", "two", "three"]
    plain = features.fit(None).transform(texts)
    for X in (
        tuple(texts),
        np.array(texts),
        np.array(texts, dtype=object)[:, None],
        pd.Series(texts),
        pd.Series(texts, dtype="category"),
        pd.DataFrame({"text": texts}),
        pl.Series(texts),
        pl.DataFrame({"text": texts}),
    ):
        np.testing.assert_array_equal(features.transform(X), plain)


def test_a_single_text_and_other_things_are_refused(features: TextFeatures) -> None:
    features.fit(None)
    for X, says in (
        ("a text", r"give \[X\]"),
        ([], "empty"),
        (np.zeros((3, 4)), "float64 array"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "TextFeatures"),
    ):
        with pytest.raises(InputError, match=says):
            features.transform(X)


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, 3, b"bytes", ["nested"]])
def test_what_is_no_text_raises_with_its_index_or_is_a_row_of_nan(features: TextFeatures, value: Any) -> None:
    with pytest.raises(SampleError, match=r"\(index 1\)"):
        features.fit(None).transform(["fine", value])
    features.set_params(on_error="nan")
    with pytest.warns(FeatxWarning, match=r"1 sample\(s\)"):
        vectors = features.transform(["fine", value, "also fine"])
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]


def test_empty_and_white_texts_are_texts(features: TextFeatures) -> None:
    vectors = features.fit_transform(["", " ", "\n", "word"])
    assert np.isfinite(vectors).all()
    # This tokenizer drops white space: what is left are the special tokens.
    close(vectors[1:3], vectors[[0, 0]])


def test_lone_surrogates_are_read_as_replacement_characters(features: TextFeatures) -> None:
    vectors = features.fit_transform(["caf\ud800", "caf\N{REPLACEMENT CHARACTER}"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_long_texts_are_cut_off_with_one_warning_that_counts_them(tiny: Path, tmp_path: Path) -> None:
    features = TextFeatures(tiny, cache=tmp_path, max_length=10).fit(None)
    texts = ["abcdefgh", "abcdefghi", "abcdefgh" + "z" * 1000, "ab", "abcdefghi"]  # with two special tokens
    with pytest.warns(FeatxWarning, match=r"^3 of 5 texts were cut off at 10 tokens\.") as caught:
        vectors = features.transform(texts)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    close(vectors[1:3], vectors[[0, 0]])


@pytest.mark.parametrize("cached", [True, False])
def test_texts_cut_off_are_counted_whatever_the_cache_holds(tiny: Path, tmp_path: Path, cached: bool) -> None:
    def features() -> TextFeatures:
        return TextFeatures(tiny, cache=tmp_path if cached else None, max_length=10).fit(None)

    with pytest.warns(FeatxWarning, match="^1 of 2 texts"):
        features().transform(["a" * 20, "b"])
    with counted_rows() as rows, pytest.warns(FeatxWarning, match="^3 of 4 texts") as caught:
        features().transform(["a" * 20, "b", "c" * 20, "a" * 20])
    assert (rows.n, len(caught)) == (1 if cached else 3, 1)
    features().transform(["b", "c" * 20])  # of which this process has been told
    clone(features()).set_params(max_length=32).fit_transform(["a" * 20])  # no warning: it fits


def test_the_advice_on_texts_cut_off_is_possible(tiny: Path, tmp_path: Path) -> None:
    long = ["a" * 100]
    with pytest.warns(
        FeatxWarning, match="Fit with a larger max_length, up to 64 with this network, or split"
    ):
        TextFeatures(tiny, cache=None, max_length=63).fit_transform(long)
    with pytest.warns(FeatxWarning, match="tokens. This network takes no longer input: split them"):
        TextFeatures(tiny, cache=None).fit_transform(long)
    folder = Path(shutil.copytree(tiny, tmp_path / "unlimited"))
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.warns(FeatxWarning, match=r"tokens. Fit with a larger max_length, or split them"):
        TextFeatures(folder, cache=None, max_length=12).fit_transform(long)


def test_a_million_repeats_of_one_text_are_one_row_of_inference(features: TextFeatures) -> None:
    with counted_rows() as rows:
        vectors = features.fit(None).transform(["again"] * 1_000_000)
    assert rows.n == 1
    assert (vectors == vectors[0]).all()


@pytest.mark.parametrize(
    "parameters",
    [{"max_length": 12}, {"prompt": "query: "}, {"normalize": True}, {"pooling": "cls"}, {"tap": "layer1"}],
)
def test_what_decides_a_vector_is_a_space_of_its_own(
    features: TextFeatures, parameters: dict[str, Any]
) -> None:
    other = clone(features).set_params(**parameters)
    plain, changed = features.fit(None).spaces_[0], other.fit(None).spaces_[0]
    assert plain.id != changed.id
    with counted_rows() as rows:
        features.transform(["one two", "three"])
        other.transform(["one two", "three"])
    assert rows.n == 4
    with pytest.raises(SpaceMismatchError):
        features.set_params(**parameters).transform(["one two"])


def test_a_prompt_stands_before_every_text(features: TextFeatures) -> None:
    plain = clone(features).fit_transform(["ask: why"])
    close(clone(features).set_params(prompt="ask: ").fit_transform(["why"]), plain)


def test_normalised_vectors_have_length_one(features: TextFeatures, texts: list[str]) -> None:
    plain = clone(features).fit_transform(texts[:9])
    scaled = features.set_params(normalize=True).fit_transform(texts[:9])
    close(scaled, plain / np.linalg.norm(plain, axis=1, keepdims=True))


def test_the_publishers_pooling_and_normalisation_are_the_default(tmp_path: Path) -> None:
    folder = tiny_text_backbone(tmp_path / "published", pooling="max", normalize=True)
    own = TextFeatures(folder, cache=None).fit(None)
    assert own.spaces_[0].pooling == "max"
    assert own.spaces_[0].to_dict()["preprocess"]["normalize"] is True
    close(np.linalg.norm(own.transform(["a b", "c"]), axis=1), np.ones(2, np.float32))
    # Another pooling or tap is none of the publisher's, and neither is what follows it.
    other = TextFeatures(folder, cache=None, pooling="mean").fit(None)
    assert other.spaces_[0].to_dict()["preprocess"]["normalize"] is False


def test_a_folder_that_names_no_pooling_asks_for_one(tmp_path: Path) -> None:
    folder = tiny_text_backbone(tmp_path / "plain", pooling=None)
    with pytest.raises(ParameterError, match="name the pooling, one of cls, mean, max, last"):
        TextFeatures(folder, cache=None).fit(None)
    vectors = TextFeatures(folder, cache=None, pooling="last").fit_transform(["a b", "c"])
    assert np.isfinite(vectors).all()


def test_a_longer_input_than_the_network_has_positions_is_refused(tiny: Path) -> None:
    with pytest.raises(ParameterError, match="the network has 64 positions"):
        TextFeatures(tiny, cache=None, max_length=65).fit(None)


def test_values_of_numpy_as_grids_hold_them_are_taken(tiny: Path) -> None:
    texts = ["one two", "three"]
    expected = TextFeatures(tiny, cache=None, normalize=True, max_length=40).fit_transform(texts)
    features = TextFeatures(tiny, cache=None, normalize=np.True_, max_length=np.int64(40))
    np.testing.assert_array_equal(features.fit_transform(texts), expected)


def test_folds_warn_of_no_text_twice(tiny: Path, tmp_path: Path) -> None:
    texts = ["a" * 20 + letter for letter in "abcdefghijkl"]
    model = make_pipeline(TextFeatures(tiny, cache=tmp_path, max_length=10), LogisticRegression())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_val_score(model, texts, [0, 1] * 6, cv=3)
        model.fit(texts, [0, 1] * 6)
    said = [str(one.message) for one in caught if "cut off" in str(one.message)]
    assert [words[:10] for words in said] == ["8 of 8 tex", "4 of 4 tex"]


@pytest.mark.parametrize(
    "parameters", [{"normalize": "yes"}, {"max_length": 0}, {"prompt": 3}, {"max_length": 2}]
)
def test_wrong_parameters_raise(tiny: Path, parameters: dict[str, Any]) -> None:
    with pytest.raises((ParameterError, PreprocessError)):
        TextFeatures(tiny, cache=None, **parameters).fit(None).transform(["a"])


def test_a_folder_without_a_tokenizer_says_what_is_missing(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    shutil.copy(tiny / "model.onnx", tmp_path / "net")
    with pytest.raises(PreprocessError, match=r"no tokenizer\.json"):
        TextFeatures(tmp_path / "net", cache=None).fit(None)


def test_a_tokenizer_changed_after_fit_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "net"))
    features = TextFeatures(folder, cache=None).fit(None)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises((SpaceMismatchError, DigestMismatchError)):
        features.transform(["A"])


def test_rows_that_depend_on_their_neighbours_run_alone_and_unpadded(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "coupled"))
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        if node.op_type == "Softmax":  # over the batch: each row's attention depends on the others
            node.attribute[0].i = 0
    onnx.save(model, folder / "model.onnx")
    fitted = TextFeatures(folder, cache=None).fit(None)
    texts = ["a b c", "d", "e f"]
    np.testing.assert_array_equal(
        fitted.transform(texts), np.concatenate([fitted.transform([text]) for text in texts])
    )


def test_texts_are_found_by_the_digests_of_a_manifest(features: TextFeatures) -> None:
    extraction = features.fit(None).extract(["one", "two"])
    digests = [f"digest:{key.tobytes().hex()}" for key in extraction.keys]
    np.testing.assert_array_equal(features.transform(digests), extraction.vectors)
    with pytest.raises(SampleError, match="holds no vector for this digest"):
        features.transform([f"digest:{'0' * 32}"])


def test_a_store_holds_no_text(features: TextFeatures) -> None:
    secret = "patient zero sits in ward nine"
    features.fit(None).transform([secret, "other"])
    root = EmbeddingStore(features.cache).root
    for path in Path(root).rglob("*"):
        assert not path.is_file() or b"ward" not in path.read_bytes()


def test_images_and_texts_name_each_others_estimators(tiny: Path, tmp_path: Path) -> None:
    from featx import ImageFeatures
    from featx.errors import BackboneError
    from featx.testing import tiny_backbone

    with pytest.raises(BackboneError):
        TextFeatures(tiny_backbone(tmp_path / "images"), cache=None).fit(None)
    with pytest.raises(BackboneError):
        ImageFeatures(tiny, cache=None).fit(None)


def test_an_encoder_without_attention_has_pooled_tokens_too(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "static"))
    model = onnx.load(folder / "model.onnx")
    kept = [node for node in model.graph.node if node.output[0] == "embedded"]
    del model.graph.node[:]
    model.graph.node.extend([*kept, onnx.helper.make_node("Tanh", ["embedded"], ["last_hidden_state"])])
    onnx.save(model, folder / "model.onnx")
    vectors = TextFeatures(folder, cache=None).fit_transform(["ab", "ba", "a"])
    close(vectors[:1], vectors[1:2])  # the mean of static embeddings knows no order
