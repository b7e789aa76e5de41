"""Rows and lines are those of the data as they were given."""

from __future__ import annotations

from pathlib import Path

import featx
from featx.errors import UnreadableSampleError
from featx.evaluation.origins import Origin


def test_rows_count_samples_that_could_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("text,label\n" + "".join(f'"a\n{i}",{i % 2}\n' for i in range(4)))
    skipped = [UnreadableSampleError("gone", index=1, name="b")]
    origin = Origin.of(featx.read_dataset(tmp_path / "pets.csv"), n_samples=3, skipped=skipped)
    assert origin.rows.tolist() == [0, 2, 3]
    assert origin.dataset == "pets"
    assert origin.places == ("pets.csv, line 3", "pets.csv, line 7", "pets.csv, line 9")


def test_without_a_data_set_there_are_rows_alone() -> None:
    origin = Origin.of(None, n_samples=3, skipped=[])
    assert (origin.rows.tolist(), origin.dataset, origin.places) == ([0, 1, 2], "", None)


def test_files_are_named_as_the_table_or_the_folder_has_them(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    folder = featx.read_dataset(tmp_path)
    assert [folder.listed_name(i) for i in range(2)] == [str(Path("a/x.png")), str(Path("b/y.png"))]
    elsewhere = str(tmp_path.parent / "z.png")
    (tmp_path / "data.csv").write_text(f"file,label\na/x.png,1\n{elsewhere},2\n")
    table = featx.read_dataset(tmp_path / "data.csv", image_root=tmp_path)
    assert [table.listed_name(i) for i in range(2)] == ["a/x.png", elsewhere]
