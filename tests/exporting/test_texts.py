"""Encoders of texts, exported through the public path and held to transformers' own vectors of the same texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featx import Backbone, TextFeatures, export_backbone
from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import ConversionError, ParameterError, PreprocessError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")

# float32 roundings in another order; measured below 1e-6.
TOLERANCE = 1e-5

FAMILIES = ["bert", "distilbert", "roberta", "gpt2", "t5"]
TEXTS = [
    "The cat sat on the mat.",
    "dog ran",
    "",
    "the cats running far away over the hills! " * 3,
    "w1 w2 zebra",
]
KINDS = {"t5": "T5EncoderModel", "clip": "CLIPTextModelWithProjection"}


def their_vectors(
    folder: Path, name: str, pooling: str, texts: Sequence[str] = tuple(TEXTS)
) -> NDArray[np.float32]:
    """By transformers alone, in its default arithmetic, one text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, KINDS.get(name, "AutoModel")).from_pretrained(folder).eval()
    rows = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            made: Any = model(input_ids=ids.input_ids, attention_mask=ids.attention_mask)
        if pooling == "none":
            rows.append(made.text_embeds[0].numpy())
            continue
        tokens = made.last_hidden_state[0].numpy()
        rows.append(
            {"mean": tokens.mean(0), "cls": tokens[0], "last": tokens[-1], "max": tokens.max(0)}[pooling]
        )
    return np.stack(rows)


def assert_close(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(found - expected).max() / largest < TOLERANCE


@pytest.mark.parametrize("name", FAMILIES)
def test_taps_of_each_architecture(name: str, exported: Callable[..., Path]) -> None:
    backbone = Backbone.open(exported(name))
    taps = [(tap.name, tap.kind, tap.channels) for tap in backbone.info.taps]
    assert taps == [(tap, "tokens", 32) for tap in ("layer1", "layer2", "pooled")]
    assert (backbone.info.modality, backbone.info.fixed_batch, backbone.info.n_tokens) == ("text", None, None)


@pytest.mark.parametrize("name", FAMILIES)
def test_vectors_are_those_of_transformers(
    name: str, exported: Callable[..., Path], checkpoint: Callable[[str], Path]
) -> None:
    pooling = "last" if name == "gpt2" else "mean"
    features = TextFeatures(
        exported(name), pooling="auto" if name == "gpt2" else "mean", cache=None, batch_size=2
    )
    assert_close(features.fit_transform(TEXTS), their_vectors(checkpoint(name), name, pooling))


def test_the_text_tower_of_a_network_that_has_two(
    exported: Callable[..., Path], checkpoint: Callable[[str], Path]
) -> None:
    folder = exported("clip", modality="text")
    taps = [(tap.name, tap.kind, tap.channels) for tap in Backbone.open(folder).info.taps]
    assert taps == [("pooled", "vector", 24)]  # it pools at the id that ends a text, and so itself
    short = [text for text in TEXTS if len(text) < 60]  # it has 24 positions
    assert_close(
        TextFeatures(folder, cache=None).fit_transform(short),
        their_vectors(checkpoint("clip"), "clip", "none", short),
    )


@pytest.mark.parametrize(("name", "implied"), [("gpt2", "last"), ("bert", None), ("t5", None)])
def test_only_a_network_that_reads_on_implies_a_pooling(
    name: str, implied: str | None, exported: Callable[..., Path]
) -> None:
    folder = exported(name)
    preprocess = TextPreprocess.from_folder(folder)
    assert preprocess is not None
    assert preprocess.pooling == implied
    notes = Backbone.open(folder).card.get("notes", [])
    assert [("name a pooling" in note) for note in notes] == ([] if implied else [True])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max"])
def test_a_pooling_that_is_named_is_written(
    pooling: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = export_backbone(checkpoint("bert"), tmp_path / "out", pooling=pooling)
    found = TextFeatures(folder, cache=None).fit_transform(TEXTS)
    assert_close(found, their_vectors(checkpoint("bert"), "bert", pooling))
    config = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert config["word_embedding_dimension"] == 32
    assert sum(value is True for value in config.values()) == 1


@pytest.fixture
def copied(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny BERT, to which files may be added."""
    return Path(shutil.copytree(checkpoint("bert"), tmp_path / "copied"))


def sentence_transformers_files(folder: Path, *, dense: bool = False) -> None:
    names = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{name}" if i else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for i, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20, "do_lower_case": false}')
    if dense:
        from safetensors.numpy import save_file

        (folder / "2_Dense").mkdir()
        (folder / "2_Dense" / "config.json").write_text(
            '{"activation_function": "torch.nn.modules.activation.Tanh"}'
        )
        weight = np.random.default_rng(0).standard_normal((8, 32), np.float32)
        save_file(
            {"linear.weight": weight, "linear.bias": weight[:, 0]}, folder / "2_Dense" / "model.safetensors"
        )


def test_a_sentence_transformers_folder_keeps_its_end(copied: Path, tmp_path: Path) -> None:
    sentence_transformers_files(copied, dense=True)
    features = TextFeatures(export_backbone(copied, tmp_path / "out"), cache=None).fit(TEXTS)
    preprocess = features.backbone_.text()
    assert (preprocess.pooling, preprocess.max_length, preprocess.ends_normalized) == ("mean", 20, True)
    found = features.transform(TEXTS[:3])
    assert found.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)  # float32 rounding


def test_another_pooling_than_the_sources_own_is_refused(copied: Path, tmp_path: Path) -> None:
    sentence_transformers_files(copied)
    with pytest.raises(
        ParameterError, match=r"comes with its own, 'mean'.*TextFeatures\(\.\.\., pooling='cls'\)"
    ):
        export_backbone(copied, tmp_path / "out", pooling="cls")
    assert not (tmp_path / "out").exists()


def test_a_dense_layer_without_readable_weights_is_refused(copied: Path, tmp_path: Path) -> None:
    sentence_transformers_files(copied, dense=True)
    (copied / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(PreprocessError, match=r"checkpoint folder copied.*2_Dense.*missing"):
        export_backbone(copied, tmp_path / "out")


def test_the_publishers_tokenizer_is_kept_byte_for_byte(
    exported: Callable[..., Path], checkpoint: Callable[[str], Path]
) -> None:
    name = "tokenizer.json"
    assert (exported("bert") / name).read_bytes() == (checkpoint("bert") / name).read_bytes()


def test_a_tokenizer_of_the_older_form_is_converted(copied: Path, words: list[str], tmp_path: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (copied / file).unlink()
    (copied / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    folder = export_backbone(copied, tmp_path / "out", pooling="mean")
    assert_close(TextFeatures(folder, cache=None).fit_transform(TEXTS), their_vectors(copied, "bert", "mean"))


def test_a_tokenizer_that_has_no_fast_form_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "tokenizer.json").unlink()
    (copied / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(PreprocessError, match=r"CanineTokenizer has no tokenizer\.json.*no fast form"):
        export_backbone(copied, tmp_path / "out")


def test_a_tokenizer_that_gives_other_ids_is_refused(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where transformers builds a tokenizer by the architecture's rules, and not by the file."""
    own = transformers.AutoTokenizer.from_pretrained(copied)
    monkeypatch.setattr(
        transformers.AutoTokenizer,
        "from_pretrained",
        lambda *args, **options: lambda text: {"input_ids": own(text)["input_ids"][1:]},
    )
    with pytest.raises(ConversionError, match=r"tokenizer\.json gives 'The quick brown fox"):
        export_backbone(copied, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_samples_are_compared_through_the_sources_tokenizer(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = export_backbone(checkpoint("bert"), tmp_path / "out", samples=TEXTS)
    found = Backbone.open(folder).card["agreement"]["found"]
    assert 0 < found["samples"] < TOLERANCE
    assert set(found) == {
        "random, batch of 1",
        "random, batch of 3, padded",
        "random, one token",
        "samples",
    }


def test_lengths_and_batches_are_free(exported: Callable[..., Path]) -> None:
    features = TextFeatures(exported("gpt2"), cache=None).fit(TEXTS)
    alone = np.concatenate([features.transform([text]) for text in TEXTS])
    assert_close(features.transform(TEXTS), alone)


def test_a_checkpoint_without_a_tokenizer_is_refused(copied: Path, tmp_path: Path) -> None:
    """transformers would make one up that knows no word, and every sentence would have one vector."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (copied / file).unlink()
    with pytest.raises(PreprocessError, match="no tokenizer in it"):
        export_backbone(copied, tmp_path / "out", pooling="mean")
    assert not (tmp_path / "out").exists()
