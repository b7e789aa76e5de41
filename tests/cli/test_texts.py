"""The main job on texts: a CSV to a model, predictions for words, tables and lines, vectors with digests and no words."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx as library
from featx.inference.cut_texts import forget_told
from featx.testing import counted_rows, tiny_text_backbone


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_backbone(tmp_path_factory.mktemp("encoder") / "words")


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 messages by 20 authors; quoted newlines, commas and a repeat with another label among them."""
    path = tmp_path_factory.mktemp("messages") / "messages.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "group"])
        for i in range(30):
            writer.writerow([f"zzz, zz {i}\nzz", "asleep", f"author {i % 10}"])
            writer.writerow([f"aaa! a {i}", "awake", f"author {10 + i % 10}"])
    return path


@pytest.fixture(scope="session")
def model(encoder: Path, messages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "model"
    library.train(messages, backbone=encoder, heads=["logistic"], out=out, cache=None)
    return out


def test_training_keeps_authors_together_and_embeds_each_text_once(
    featx: Any, messages: Path, encoder: Path, tmp_path: Path
) -> None:
    with counted_rows() as rows:
        found = featx(
            "train", messages, "-b", encoder, "--head", "logistic", "--cache", tmp_path / "c", "--json"
        ).json
    assert rows.n == 60
    assert found["n_train"] == found["n_computed"] == 60
    assert found["comparison"]["n_groups"] == 20


def test_what_is_printed_speaks_of_texts(featx: Any, messages: Path, encoder: Path, tmp_path: Path) -> None:
    out = featx("train", messages, "-b", encoder, "--head", "logistic", "--out", tmp_path / "m").out
    assert "fitted on 60 texts" in out
    assert "TEXTS..." in out
    readme = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "Trained on 60 texts of messages" in readme
    assert 'model.predict(["a text"])' in readme


def test_words_tables_and_lines_are_predicted(
    featx: Any, model: Path, messages: Path, tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("zz zzz\naaa\n", encoding="utf-8")
    (tmp_path / "table.csv").write_text('id,text\n1,"zz, z"\n2,aa\n', encoding="utf-8")
    ended = featx("predict", model, "zzz zz", tmp_path / "lines.txt", tmp_path / "table.csv", "--csv")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["text"] for row in rows] == ["zzz zz", "zz zzz", "aaa", "zz, z", "aa"]
    assert [row["label"] for row in rows] == ["asleep", "asleep", "awake", "asleep", "awake"]


def test_a_table_that_is_not_there_is_no_text(refused: Any, model: Path) -> None:
    assert "absent.csv: no such file. Give texts" in refused("predict", model, "absent.csv")
    assert "absent.txt: no such file" in refused("predict", model, "absent.txt")


def test_a_column_of_another_name(featx: Any, messages: Path, encoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "renamed.csv"
    path.write_text(
        messages.read_text(encoding="utf-8").replace("text,label", "message,label", 1), encoding="utf-8"
    )
    words = ("train", path, "-b", encoder, "--head", "logistic")
    assert featx(*words).status == 2
    out = tmp_path / "m"
    assert featx(*words, "--text-column", "message", "--out", out).status == 0
    assert "the column 'message'" in (out / "README.md").read_text(encoding="utf-8")
    # The model knows it, whatever else a table has.
    new = tmp_path / "new.csv"
    new.write_text("text,message\naaa,zzz zz\n", encoding="utf-8")
    assert [row["text"] for row in featx("predict", out, new, "--json").json] == ["zzz zz"]
    assert [row["text"] for row in featx("predict", out, new, "--text-column", "text", "--json").json] == [
        "aaa"
    ]


def test_a_table_without_the_column_of_the_training_is_refused_with_near_names(
    refused: Any, encoder: Path, messages: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "renamed.csv", tmp_path / "m"
    data.write_text(messages.read_text(encoding="utf-8").replace("text,", "message,", 1), encoding="utf-8")
    dataset = library.read_dataset(data, text_column="message")
    library.train(dataset, backbone=encoder, heads=["logistic"], out=out, cache=None)
    (tmp_path / "new.csv").write_text("text,massage\naaa,zzz\n", encoding="utf-8")
    assert refused("predict", out, tmp_path / "new.csv").endswith(
        "new.csv: no column 'message', which held the samples that the model was trained on; found 'text', 'massage'. "
        "Did you mean 'massage'? Name the column with --text-column."
    )


def test_the_column_of_files_is_remembered_too(
    featx: Any, tiny: Path, photos: Path, table: Any, tmp_path: Path
) -> None:
    data = table(picture=[path.name for path in sorted(photos.glob("*/*.png"))], without=("file",))
    data.write_text(
        "".join(
            f"{row.split(',')[0]},{row.split(',')[0]}/{row.split(',')[1]}\n" if at else "label,picture\n"
            for at, row in enumerate(data.read_text(encoding="utf-8").splitlines())
        ),
        encoding="utf-8",
    )
    root = ("--image-root", photos)
    words = ("train", data, "-b", tiny, "--head", "logistic", "--file-column", "picture", *root)
    assert featx(*words, "--out", tmp_path / "m").status == 0
    assert len(featx("predict", tmp_path / "m", data, *root, "--json").json) == 24


def test_vectors_of_a_manifest_leave_the_column_of_new_texts_open(
    featx: Any, messages: Path, encoder: Path, tmp_path: Path
) -> None:
    cache = ("--cache", tmp_path / "c")
    featx("embed", messages, "-o", tmp_path / "v", "-b", encoder, *cache)
    manifest, out = tmp_path / "v.manifest.csv", tmp_path / "m"
    assert featx("train", manifest, "-b", encoder, "--head", "logistic", "--out", out, *cache).status == 0
    assert len(featx("predict", out, messages, "--json", *cache).json) == 60
    with counted_rows() as rows:
        assert len(featx("predict", out, manifest, "--json", *cache).json) == 60
    assert rows.n == 0


def test_a_file_of_lines_is_embedded_a_text_a_line(featx: Any, encoder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("zz, zz\naaa\nzz, zz\n", encoding="utf-8")
    ended = featx("embed", lines, "-b", encoder, "-o", tmp_path / "v", "--cache", tmp_path / "c")
    assert (ended.status, ended.err) == (0, "")
    vectors = np.load(tmp_path / "v.npy")
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert vectors.shape == (3, 16)


def test_a_file_of_lines_has_no_labels_and_a_table_is_no_file_of_lines(
    refused: Any, model: Path, encoder: Path, messages: Path, tmp_path: Path
) -> None:
    lines, disguised = tmp_path / "lines.txt", tmp_path / "table.txt"
    lines.write_text("zz\naaa\n", encoding="utf-8")
    disguised.write_bytes(messages.read_bytes())
    assert "give a CSV: a first line text,label and then" in refused("train", lines, "-b", encoder)
    for words in (
        ("train", disguised, "-b", encoder),
        ("embed", disguised, "-b", encoder, "-o", tmp_path / "v"),
        ("predict", model, disguised),
    ):
        assert "Rename it to .csv or .tsv" in refused(*words)


def test_empty_texts_are_counted_once_and_named_by_their_line(
    featx: Any, model: Path, encoder: Path, messages: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text(
        messages.read_text(encoding="utf-8") + ',awake,a\n"  ",awake,a\nnan,awake,b\n', encoding="utf-8"
    )
    says = 'warning: gaps: 3 of 63 texts are empty or "nan" (gaps.csv, line 92 and 2 more). They are kept'
    for words in (
        ("train", path, "-b", encoder, "--head", "logistic"),
        ("embed", path, "-b", encoder, "-o", tmp_path / "v"),
        ("predict", model, path),
    ):
        ended = featx(*words, "--cache", tmp_path / "c")
        assert ended.status == 0
        assert ended.err.count(says) == 1
    vectors = np.load(tmp_path / "v.npy")
    np.testing.assert_array_equal(vectors[60], vectors[61])
    assert (vectors[61] != vectors[62]).any()


def test_what_was_cut_off_is_said_in_the_words_of_the_command_line(
    featx: Any, messages: Path, encoder: Path, tmp_path: Path
) -> None:
    words = ("embed", messages, "-b", encoder, "--max-length", 5, "--cache", tmp_path / "c", "--overwrite")
    for _ in range(2):
        forget_told()
        ended = featx(*words, "-o", tmp_path / "v")
        assert (
            "60 of 60 texts were cut off at 5 tokens. Fit with a larger --max-length, up to 64" in ended.err
        )


def test_the_help_on_pooling_tells_images_and_texts_apart(featx: Any) -> None:
    words = " ".join(featx("train", "--help").out.split())
    assert "Of images: auto; avg, max or gem of maps; cls, mean or max of tokens." in words
    assert "Of texts: auto (as the publisher does), mean, cls, max or last." in words


def test_options_of_the_other_modality_are_refused(
    refused: Any, messages: Path, encoder: Path, photos: Path, tiny: Path
) -> None:
    assert "is for images" in refused("train", messages, "-b", encoder, "--preprocess", "p.json")
    assert "is for texts" in refused("train", photos, "-b", tiny, "--max-length", "8")


def test_vectors_go_out_with_digests_and_without_the_texts(
    featx: Any, messages: Path, encoder: Path, tmp_path: Path
) -> None:
    cache = ("--cache", tmp_path / "c")
    assert featx("embed", messages, "-b", encoder, "-o", tmp_path / "v", *cache).status == 0
    manifest = (tmp_path / "v.manifest.csv").read_text(encoding="utf-8")
    assert manifest.splitlines()[0] == "row,digest,label,group"
    assert "zzz" not in manifest
    assert np.load(tmp_path / "v.npy").shape == (60, 16)
    with counted_rows() as rows:
        ended = featx(
            "train", tmp_path / "v.manifest.csv", "--text-column", "digest", "-b", encoder, "--head", "logistic",
            *cache,
        )  # fmt: skip
    assert (ended.status, rows.n) == (0, 0)


def test_copies_with_other_labels_are_named_by_their_lines(
    featx: Any, encoder: Path, messages: Path, tmp_path: Path
) -> None:
    path = tmp_path / "twice.csv"
    path.write_text(messages.read_text(encoding="utf-8") + "aaa! a 3,asleep,author 90\n", encoding="utf-8")
    ended = featx("train", path, "-b", encoder, "--head", "logistic", "--out", tmp_path / "m")
    assert (
        "different labels, for example twice.csv, line 13 ('awake') and twice.csv, line 92 ('asleep')"
        in ended.err
    )
    assert "aaa! a 3" not in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")


def test_a_saved_model_of_texts_predicts_the_same(model: Path, encoder: Path, messages: Path) -> None:
    dataset = library.read_dataset(messages)
    before = library.train(messages, backbone=encoder, heads=["logistic"]).pipeline
    after = library.load(model, cache=None)
    before.set_params(features__cache=None)
    np.testing.assert_array_equal(after.predict_proba(dataset.samples), before.predict_proba(dataset.samples))
    names = {path.name for path in (model / "backbones" / "words").iterdir()}
    assert names == {"model.onnx", "tokenizer.json", "config.json", "modules.json", "1_Pooling"}


def test_a_tokenizer_changed_in_a_saved_model_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    path = copy / "backbones" / "words" / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["normalizer"] = None
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(library.errors.ArtifactError, match=r"tokenizer\.json: not the file that was saved"):
        library.load(copy)


def test_settings_of_texts_survive_saving(encoder: Path, messages: Path, tmp_path: Path) -> None:
    chosen = {
        "prompt": "say: ",
        "max_length": 20,
        "normalize": True,
        "tap": ["layer1", "pooled"],
        "pooling": "max",
    }
    trained = library.train(messages, backbone=encoder, heads=["svm"], out=tmp_path / "m", **chosen)
    loaded = library.load(tmp_path / "m")
    assert loaded["features"].spaces_ == trained.pipeline["features"].spaces_
    assert {name: loaded["features"].get_params()[name] for name in chosen} == chosen


def test_an_encoder_with_paths_in_its_configuration_leaves_them_behind(
    encoder: Path, messages: Path, tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(encoder, tmp_path / "mine"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps({**config, "_name_or_path": str(folder)}), encoding="utf-8"
    )
    library.train(messages, backbone=folder, heads=["logistic"], out=tmp_path / "m")
    for path in (tmp_path / "m").rglob("*"):
        assert not path.is_file() or str(tmp_path).encode() not in path.read_bytes()


def test_names_of_files_are_no_texts(refused: Any, model: Path, photos: Path) -> None:
    for word in (photos, photos / "dark" / "00.png", "absent.jpg"):
        assert "the model takes texts" in refused("predict", model, word)


def test_the_manifest_of_texts_is_trained_on_as_it_stands(
    featx: Any, messages: Path, encoder: Path, tmp_path: Path
) -> None:
    cache = ("--cache", tmp_path / "c", "-b", encoder)
    featx("embed", messages, "-o", tmp_path / "v", *cache)
    with counted_rows() as rows:
        assert featx("train", tmp_path / "v.manifest.csv", "--head", "logistic", *cache).status == 0
    assert rows.n == 0


def test_an_encoder_for_pictures_and_a_network_for_texts_are_told_apart(
    refused: Any, messages: Path, encoder: Path, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    assert refused("train", messages, "-b", tiny) == (
        "messages: holds texts, in the column 'text', and tiny takes images. Choose another backbone, or name a column of images "
        "with --file-column."
    )
    assert "holds images, and words takes texts" in refused("train", photos, "-b", encoder)
    both = tmp_path / "both.csv"
    both.write_text("file,text,label\na.png,aaa,x\nb.png,zzz,y\n", encoding="utf-8")
    words = ("embed", both, "-b", encoder, "-o", tmp_path / "v")
    assert "in the column 'file', and words takes texts" in refused(*words)


def test_numbers_are_no_labels(refused: Any, encoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,label\n" + "".join(f"t{i},{i * 0.37}\n" for i in range(20)), encoding="utf-8")
    assert "20 different numbers for 20 samples" in refused("train", path, "-b", encoder)


def test_a_wrong_length_is_refused_in_the_words_of_the_command_line(
    refused: Any, messages: Path, encoder: Path
) -> None:
    words = ("train", messages, "-b", encoder, "--max-length")
    assert refused(*words, "0").startswith("--max-length must be a whole number")
    assert refused(*words, "2").startswith("--max-length 2: the tokenizer adds")
    assert refused(*words, "65").startswith("--max-length 65: the network has 64 positions")
