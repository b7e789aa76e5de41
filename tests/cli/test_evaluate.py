"""``featx evaluate``: what it prints and writes, and how it ends."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.testing import counted_rows, tiny_backbone


@pytest.fixture
def patients(table: Callable[..., Path]) -> Path:
    """The pictures in a CSV, two a patient."""
    return table(group=[f"patient {i // 2}" for i in range(24)])


def test_figures_are_printed_with_intervals(featx: Any, photos: Path, tiny: Path) -> None:
    ended = featx("evaluate", photos, "-b", tiny)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == f"tiny, logistic on {photos.name}"
    assert lines[1] == "5 folds: 24 samples"
    assert any(line.split()[:2] == ["balanced", "accuracy"] and " to " in line for line in lines)
    assert [line for line in lines if len(line) > 80] == []


def test_groups_are_judged_where_asked(featx: Any, patients: Path, tiny: Path) -> None:
    found = featx(
        "evaluate", patients, "-b", tiny, "--aggregate", "mean", "--positive", "dark", "--json"
    ).json
    main = found["judgements"][0]
    assert (main["level"], main["n"], found["n_groups"], found["positive"]) == ("group", 12, 12, "dark")


def test_several_backbones_are_compared(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    other = tiny_backbone(tmp_path / "other", channels=(4, 8, 8, 12, 8), seed=3)
    found = featx("evaluate", photos, "-b", tiny, "-b", other, "--cv", "2", "--json").json
    assert [each["name"] for each in found["evaluations"]] == ["tiny, logistic", "other, logistic"]
    assert len(found["differences"]) == 1


def test_each_head_is_searched_on_its_own_grid(featx: Any, photos: Path, tiny: Path) -> None:
    words = ("evaluate", photos, "-b", tiny, "--head", "logistic,svm", "--search", "--cv", "2", "--json")
    grids = [each["settings"]["param_grid"] for each in featx(*words).json["evaluations"]]
    assert [next(iter(grid)) for grid in grids] == ["head__logistic__C", "head__svm__kernel"]


def test_every_image_meets_the_network_once_for_all_heads(featx: Any, photos: Path, tiny: Path) -> None:
    with counted_rows() as rows:
        featx("evaluate", photos, "-b", tiny, "--head", "logistic,svm", "--learning-curve", "0.5")
    assert rows.n == 24


def test_a_page_and_a_picture_are_written(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    ended = featx("evaluate", photos, "-b", tiny, "--report", page, "--png", picture)
    assert ended.out.splitlines()[-2:] == ["", f"Written: {page}, {picture}"]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert str(photos) not in page.read_text(encoding="utf-8")
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = featx(
        "evaluate", photos, "-b", tiny, "--report", page, "--show-names", "--overwrite", "--json"
    ).json
    assert shown["written"] == [str(page)]


def test_predictions_are_written_with_files_as_the_folder_has_them(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rows.csv"
    ended = featx("evaluate", photos, "-b", tiny, "--predictions", out)
    assert ended.out.splitlines()[-1] == f"Written: {out}"
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["position", "name", "fold", "unit", "truth", "predicted", "p_dark", "p_light"]
    assert [row["name"] for row in rows[:2]] == [str(Path("dark", "00.png")), str(Path("dark", "01.png"))]
    assert {row["fold"] for row in rows} == set("12345")
    featx("evaluate", photos, "-b", tiny, "--head", "logistic,svm", "--predictions", out, "--overwrite")
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1 + 2 * 24


def test_page_and_picture_say_what_was_asked_and_how_to_ask_it_again(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = ("evaluate", photos, "-b", tiny, "--cv", "3", "--report", page, "--json")
    found = featx(*words).json
    text = page.read_text(encoding="utf-8")
    assert f"<title>Evaluation of tiny, logistic on {photos.name}</title>" in text
    assert found["dataset"] == photos.name
    line = f"featx evaluate …/{photos.name} --backbone …/{tiny.name} --cv 3 --report …/page.html --json"
    assert found["command"] == line
    assert f"<pre>{line}</pre>" in text
    assert str(photos.parent) not in text
    featx(*words, "--overwrite", "--title", "Mine")
    assert "<title>Mine</title>" in page.read_text(encoding="utf-8")


def test_other_judgements_have_a_line_unless_all_are_asked_for(
    featx: Any, patients: Path, tiny: Path
) -> None:
    words = ("evaluate", patients, "-b", tiny, "--aggregate", "mean")
    brief, full = featx(*words).out, featx(*words, "--all").out
    assert [text.count("Brier score") for text in (brief, full)] == [1, 2]
    assert "  5 folds: 24 samples  " in brief


def test_files_are_refused_before_the_work(
    refused: Callable[..., str], photos: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "there.html").write_text("mine")
    with counted_rows() as rows:
        for option in ("--report", "--png", "--predictions"):
            line = refused("evaluate", photos, "-b", tiny, option, tmp_path / "there.html")
            assert "--overwrite" in line
    assert rows.n == 0
    assert (tmp_path / "there.html").read_text() == "mine"


def test_a_split_is_followed_unless_it_is_to_be_ignored(
    featx: Any, table: Callable[..., Path], tiny: Path
) -> None:
    split = table(split=(["train"] * 8 + ["test"] * 4) * 2)
    assert "test: 8 samples" in featx("evaluate", split, "-b", tiny).out
    assert "5 folds: 24 samples" in featx("evaluate", split, "-b", tiny, "--ignore-split").out


def test_leaks_are_said_once_or_end_with_status_1(featx: Any, table: Callable[..., Path], tiny: Path) -> None:
    leaking = table(
        split=(["train"] * 8 + ["test"] * 4) * 2,
        patient=[*(f"patient {min(i % 12, 8)}{i // 12}" for i in range(23)), "patient 00"],
    )
    words = ("evaluate", leaking, "-b", tiny, "--group-column", "patient")
    warned = featx(*words)
    assert warned.status == 0
    assert "1 group" not in warned.err
    assert warned.out.splitlines()[1].startswith("Beware: 1 group is in both train and test")
    assert warned.out.count("1 group is in both") == 1
    compared = featx(*words, "--head", "logistic,svm")
    assert compared.out.splitlines()[1].startswith("Beware: 1 group is in both train and test")
    assert (compared.out + compared.err).count("1 group is in both") == 1
    ended = featx(*words, "--on-leak", "raise")
    assert (ended.status, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1
    assert "--on-leak raise" in ended.err


@pytest.fixture
def fresh(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """Eight pictures that ``model`` was not trained on."""
    for at, (label, low) in enumerate((("dark", 0), ("light", 120))):
        for i in range(4):
            picture(tmp_path / "fresh" / label / f"{i}.png", seed=1000 + 10 * at + i, low=low)
    return tmp_path / "fresh"


def test_a_saved_model_is_judged_on_new_data(featx: Any, model: Path, fresh: Path) -> None:
    ended = featx("evaluate", fresh, "--model", model, "--json")
    found = ended.json
    assert (found["name"], ended.err) == ("model", "")
    assert found["judgements"][0]["part"] == "new samples"
    assert found["folds"] == []
    assert found["n_trained_on"] == 0


def test_a_model_judged_on_its_own_training_is_said_to_be_first_and_once(
    featx: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    ended = featx("evaluate", photos, "--model", model, "--report", tmp_path / "page.html")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[1].startswith("Beware: the model was trained on every one of these 24 samples, for example ")
    assert lines[2] == "only samples the model was trained on: 24 samples"
    assert ended.out.count("trained on every one") == 1
    assert "new samples" not in ended.out
    assert "nothing but training samples: 24." in (tmp_path / "page.html").read_text(encoding="utf-8")
    found = featx("evaluate", photos, "--model", model, "--json").json
    (leak,) = found["leaks"]
    assert (leak["kind"], leak["n"]) == ("nothing but training samples", 24)
    assert leak["rows"] == [[i] for i in range(24)]
    refused = featx("evaluate", photos, "--model", model, "--on-leak", "raise")
    assert (refused.status, refused.out) == (1, "")
    assert "--on-leak raise: the model was trained on every one" in refused.err


def test_a_model_that_remembers_nothing_is_said_to_once(
    featx: Any, photos: Path, fresh: Path, tiny: Path, tmp_path: Path
) -> None:
    featx("train", photos, "-b", tiny, "--head", "logistic", "-o", tmp_path / "m", "--no-remember-samples")
    ended = featx("evaluate", fresh, "--model", tmp_path / "m")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("could not be checked") == 1
    assert "as given: 8 samples" in ended.out


def test_a_model_is_judged_on_the_column_that_it_was_trained_on(
    featx: Any,
    refused: Callable[..., str],
    table: Callable[..., Path],
    photos: Path,
    tiny: Path,
    tmp_path: Path,
) -> None:
    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    swapped = table(scan=files, file=files[::-1])
    featx("train", swapped, "-b", tiny, "--head", "logistic", "-o", tmp_path / "m", "--file-column", "scan")
    # What is in the column of files is the other class throughout.
    accuracies = [
        featx("evaluate", swapped, "--model", tmp_path / "m", "--json", *words).json["judgements"][0][
            "figures"
        ]["accuracy"]["value"]
        for words in ((), ("--file-column", "file"))
    ]
    assert accuracies == [1.0, 0.0]
    line = refused("evaluate", table("plain.csv"), "--model", tmp_path / "m")
    assert "no column 'scan', which held the samples that the model was trained on" in line
    assert line.endswith("Name the column with --file-column.")
    assert refused("evaluate", swapped, "--model", tmp_path / "m", "--text-column", "scan").startswith(
        "--text-column scan:"
    )


def test_labels_that_the_model_does_not_know_are_refused_with_its_own(
    refused: Callable[..., str], table: Callable[..., Path], model: Path
) -> None:
    line = refused("evaluate", table(label=["cat"] * 12 + ["dog"] * 12), "--model", model)
    assert f"data: has the label(s) 'cat', 'dog', and {model} knows 'dark', 'light'." in line


def test_what_makes_a_model_does_not_go_with_one(
    refused: Callable[..., str], model: Path, photos: Path, tiny: Path
) -> None:
    for words in (("-b", tiny), ("--search",), ("--calibrate", "sigmoid"), ("--learning-curve", "0.5")):
        assert refused("evaluate", photos, "--model", model, *words).startswith(
            f"{words[0]}".replace("-b", "--backbone")
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--head", "logistik"), "Did you mean 'logistic'?"),
        (("--head", ","), "--head"),
        (("--on-leak", "grop"), "Did you mean 'group'?"),
        (("--learning-curve", "0.5,x"), "--learning-curve 0.5,x"),
        (("--learning-curve", "1.5"), "shares between 0 and 1"),
        (("--positive", "nobody"), "--positive nobody"),
        (("--aggregate", "mean"), "there are no groups"),
        (("--aggregate", "mena"), "Did you mean"),
        (("--calibrate", "platt"), "--calibrate platt"),
        (("--at-specificity", "2"), "--at-specificity 2"),
        (("--at-sensitivity", "high"), "--at-sensitivity high"),
        (("--seed", "-1"), "--seed -1"),
        (("--cv", "1"), "--cv 1"),
        (("--cv", "13"), "--cv 12"),
    ],
    ids=" ".join,
)
def test_mistakes_end_in_one_line(
    refused: Callable[..., str], photos: Path, tiny: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in refused("evaluate", photos, "-b", tiny, *words)


def test_thresholds_can_be_left_out(featx: Any, photos: Path, tiny: Path) -> None:
    found = featx("evaluate", photos, "-b", tiny, "--at-specificity", "none", "--cv", "3", "--json").json
    assert found["settings"]["at_specificity"] is None
    names = [name for judged in found["judgements"] for name in judged["figures"] if "@" in name]
    assert names
    assert all(name.endswith("@sensitivity 0.9") for name in names)


def test_unreadable_images_are_listed_or_refused_by_line(
    featx: Any, refused: Callable[..., str], table: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    path = table()
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[5][0] = str(tmp_path / "gone.png")
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    assert "data.csv, line 6" in refused("evaluate", path, "-b", tiny)
    ended = featx("evaluate", path, "-b", tiny, "--skip-unreadable")
    assert ended.status == 0
    assert ended.out.startswith("skipped ")
    assert "5 folds: 23 samples" in ended.out
