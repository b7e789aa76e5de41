"""Every example runs as it stands, on a small network under the usual names; the notebook runs and gives nothing away."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.demo_data import sentences_path, write_digits
from featx.testing import tiny_backbone
from featx.testing_texts import tiny_text_backbone

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "medical_study.ipynb"
CHANNELS = (4, 8, 8, 12, 16)
MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``backbones/`` with small networks called ``compact`` and ``minilm``, ``digits/``, and ``few.csv`` of sentences."""
    folder = tmp_path_factory.mktemp("examples")
    tiny_backbone(folder / "backbones" / "compact", channels=CHANNELS, size_px=64)
    tiny_text_backbone(folder / "backbones" / "minilm", positions=256)
    write_digits(folder / "digits", every=5)
    table = pd.read_csv(folder / "digits" / "labels.csv")
    few = table[table["label"].isin(["zero", "one", "four"])].copy()
    few["ink"] = np.arange(len(few)) % 7
    few.loc[few.index[3], "ink"] = np.nan  # as tables have it
    few.to_csv(folder / "digits" / "labels.csv", index=False)
    pd.read_csv(sentences_path()).groupby("label").head(20).to_csv(folder / "few.csv", index=False)
    return folder


@pytest.fixture
def run(material: Path, tmp_path: Path) -> Any:
    """``run("name.py", word, ...)`` starts an example in an empty folder and returns what it prints."""

    def start(name: str, *words: object) -> str:
        environment = {
            **os.environ,
            "FEATX_BACKBONES": str(material / "backbones"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONIOENCODING": "utf-8",
        }
        # Some digits are all but alike: to say so is a finding and no failure.
        filters = ["-W", "error::UserWarning", "-W", "default::featx.errors.LeakWarning"]
        done = subprocess.run(
            [sys.executable, *filters, str(EXAMPLES / name), *map(str, words)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


def test_image_folder(run: Any, material: Path, tmp_path: Path) -> None:
    out = run("image_folder.py", material / "digits")
    for words in ("images embedded now", "logistic", "xgboost", "groups kept together"):
        assert words in out
    assert (tmp_path / "image-model" / "artifact.json").is_file()
    assert "0 images embedded now" in run("image_folder.py", material / "digits"), (
        "a second run reads the cache"
    )


def test_text_csv(run: Any, material: Path, tmp_path: Path) -> None:
    out = run("text_csv.py", material / "few.csv")
    assert out.count("macro F1") == 2
    assert (tmp_path / "text-model" / "artifact.json").is_file()


def test_images_and_table(run: Any, material: Path, tmp_path: Path) -> None:
    out = run("images_and_table.py", material / "digits" / "labels.csv", "ink")
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["pictures", "columns", "both"]
    assert (tmp_path / "mixed-model" / "artifact.json").is_file()


def test_grid_search(run: Any, material: Path, tmp_path: Path) -> None:
    other = tiny_backbone(tmp_path / "other", channels=CHANNELS, size_px=64, seed=1)
    out = run("grid_search.py", material / "digits", "compact", other)
    scores = [float(line.split()[0]) for line in out.splitlines()[:5]]
    assert scores == sorted(scores, reverse=True)
    assert "features__backbone" in out


def test_own_onnx(run: Any, material: Path) -> None:
    out = run("own_onnx.py", material / "backbones" / "compact" / "model.onnx", material / "digits", 64)
    assert "stage4   map" in out
    assert re.search(r"pooled   balanced accuracy 0\.\d+", out)


def test_embedded_here_and_modelled_elsewhere(run: Any, material: Path, tmp_path: Path) -> None:
    run("embed_here.py", material / "digits")
    assert np.load(tmp_path / "vectors.npy").shape[1] == CHANNELS[-1]
    assert "macro avg" in run("model_elsewhere.py")
    imported = set(
        re.findall(r"^(?:from|import) (\w+)", (EXAMPLES / "model_elsewhere.py").read_text("utf-8"), re.M)
    )
    assert "featx" not in imported


def test_every_example_is_in_the_table_and_tested() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")]:
        assert f"`{path.name}`" in readme
        assert f'"{path.name}"' in tests


def notebook_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return cells


def test_the_notebook_runs_on_any_folder(
    run: Any, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = ["".join(cell["source"]) for cell in notebook_cells() if cell["cell_type"] == "code"]
    (tmp_path / "notebook.py").write_text("\n\n".join(code), encoding="utf-8")
    monkeypatch.setenv("FEATX_STUDY", str(material / "digits"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    out = run(tmp_path / "notebook.py")
    assert "0 groups are in both parts" in out
    assert re.search(r"balanced accuracy +[01]\.\d{3}   [01]\.\d{3} to [01]\.\d{3}", out)
    assert re.search(r"thumbnail +[01]\.\d{3} \([01]\.\d{3}, [01]\.\d{3}\)", out)
    assert "same answers: True" in out


def test_the_notebook_was_executed_and_its_outputs_are_small_and_name_no_machine() -> None:
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    code = [cell for cell in notebook_cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    text = json.dumps(outputs) + json.dumps(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["metadata"])
    assert not re.findall(r"(?<![\w.])/(?:home|tmp|work|root|Users|var|opt|usr)\b|[A-Z]:\\\\", text)
    pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 1, "one figure, and no pictures of the data"
    assert len(base64.b64decode(pictures[0])) < 50_000
