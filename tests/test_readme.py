"""The README's code does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from PIL import Image

from featx.testing import tiny_backbone

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the README's examples expect to find: ``photos/``, ``new/``, ``resnet50/``, ``net.onnx``."""
    rng = np.random.default_rng(3)
    for label, low in (("ants", 0), ("bees", 120)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(15):
            pixels = rng.integers(low, low + 120, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    (tmp_path / "new").mkdir()
    for i in (1, 2):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "new" / f"{i}.jpg")
    tiny_backbone(tmp_path / "resnet50", channels=(4, 8, 8, 12, 16), size_px=64)
    tiny_backbone(tmp_path / "elsewhere", size_px=224)
    (tmp_path / "elsewhere" / "model.onnx").rename(tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_its_examples() -> None:
    assert len(PYTHON) == 5
    assert "GridSearchCV" in PYTHON[0]


def test_python_example_trains_saves_loads_and_predicts(
    folder_of_a_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A small network under the bundled one's name keeps this to a second.
    monkeypatch.setenv("FEATX_BACKBONES", str(folder_of_a_user / "backbones"))
    get_reusable_executor().shutdown()  # worker processes of an earlier test have that test's environment
    tiny_backbone(folder_of_a_user / "backbones" / "compact", channels=(4, 8, 8, 12, 16), size_px=64)
    names: dict[str, object] = {}
    exec(compile(PYTHON[0], "README.md", "exec"), names)
    assert set(names["labels"]) <= {"ants", "bees"}  # type: ignore[call-overload]  # an array of labels
    assert (folder_of_a_user / "model" / "README.md").is_file()
    (folder_of_a_user / "new" / "1.jpg").rename("picture.jpg")
    names["model"] = names["search"].best_estimator_  # type: ignore[attr-defined]  # a fitted GridSearchCV
    exec(compile(PYTHON[4], "README.md", "exec"), names)
    assert (folder_of_a_user / "ants-or-bees" / "README.md").is_file()


def test_evaluation_example_writes_a_page(folder_of_a_user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_BACKBONES", str(folder_of_a_user / "backbones"))
    tiny_backbone(folder_of_a_user / "backbones" / "compact", channels=(4, 8, 8, 12, 16), size_px=64)
    rows = [
        f"photos/{label}/{i}.png,{label},{label} {i // 2}" for label in ("ants", "bees") for i in range(15)
    ]
    (folder_of_a_user / "scans.csv").write_text("\n".join(["file,label,group", *rows]) + "\n")
    names: dict[str, object] = {}
    exec("import featx\nfrom sklearn.pipeline import Pipeline", names)
    exec(compile(PYTHON[2], "README.md", "exec"), names)
    assert "16 groups" in (folder_of_a_user / "report.html").read_text(encoding="utf-8")


def test_augmentation_example_evaluates(folder_of_a_user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_BACKBONES", str(folder_of_a_user / "backbones"))
    tiny_backbone(folder_of_a_user / "backbones" / "compact")
    (example,) = [
        code for code in re.findall(r"```py\n(.*?)```", README, re.DOTALL) if "AugmentedClassifier" in code
    ]
    names: dict[str, object] = {}
    exec("import featx\ndata = featx.read_dataset('photos/')", names)
    exec(compile(example, "README.md", "exec"), names)
    assert len(names["model"].predict(["new/1.jpg"])) == 1  # type: ignore[attr-defined]  # an AugmentedClassifier


@pytest.mark.parametrize("line", PYTHON[3].strip().splitlines())
def test_backbone_examples_fit(folder_of_a_user: Path, line: str) -> None:
    names: dict[str, object] = {}
    exec(compile(f"import featx\nfeatures = {line}", "README.md", "exec"), names)
    features = names["features"]
    assert features.fit(None).n_features_out_ > 0  # type: ignore[attr-defined]  # an ImageFeatures
    vectors = features.transform(["new/1.jpg", "new/2.jpg"])  # type: ignore[attr-defined]  # an ImageFeatures
    assert vectors.shape == (2, features.n_features_out_)  # type: ignore[attr-defined]  # an ImageFeatures
