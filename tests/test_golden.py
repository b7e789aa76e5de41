"""Golden vectors hold featx's own pixel and pooling rules.

The file is named after :data:`featx.backbones.feature_space.RULES`. When a change moves these vectors, raise RULES and write a
new file with ``python tests/test_golden.py``: vectors of old and new rules then never meet in a store.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from featx import ImageFeatures
from featx.backbones.feature_space import RULES
from featx.testing import tiny_backbone

GOLDEN = Path(__file__).parent / "data" / "golden" / f"rules_{RULES}.json"
SPACES = [("pooled", "auto"), ("relu2", "avg"), ("relu2", "max"), ("relu2", "gem")]


def pictures() -> list[np.ndarray]:
    """A landscape, a portrait, a grey picture and one with alpha; made of arithmetic alone."""
    y, x = np.mgrid[0:48, 0:70]
    colour = np.stack([(3 * x + y) % 256, (x * y) % 256, (x**2 + 5 * y) % 256], axis=2).astype(np.uint8)
    alpha = np.concatenate([colour, ((x + y) * 2 % 256).astype(np.uint8)[:, :, None]], axis=2)
    return [colour, np.ascontiguousarray(colour.transpose(1, 0, 2)), colour[:, :, 0].copy(), alpha]


def vectors(folder: Path) -> dict[str, list[list[float]]]:
    backbone = tiny_backbone(folder, seed=5)
    found = {}
    for tap, pooling in SPACES:
        rows = ImageFeatures(backbone, tap=tap, pooling=pooling, cache=None, device="cpu").fit_transform(
            pictures()
        )
        found[f"{tap} {pooling}"] = [[round(float(v), 6) for v in row] for row in rows]
    return found


@pytest.mark.parametrize("key", [f"{tap} {pooling}" for tap, pooling in SPACES])
def test_vectors_are_those_of_these_rules(key: str, tmp_path: Path) -> None:
    golden = np.asarray(json.loads(GOLDEN.read_text())[key])
    # float32 sums in another order on another CPU: 1e-5 of the largest value covers it; a changed rule moves 1e-2.
    np.testing.assert_allclose(vectors(tmp_path)[key], golden, atol=1e-5 * np.abs(golden).max())


def test_space_ids_are_stable(tmp_path: Path) -> None:
    # An id that moves orphans every vector in every user's store.
    space = ImageFeatures(tiny_backbone(tmp_path, seed=5), cache=None).fit(None).spaces_[0]
    assert space.id == json.loads(GOLDEN.read_text())["space id"]
    assert type(space).from_dict(json.loads(json.dumps(space.to_dict()))) == space


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        golden = dict(vectors(Path(scratch)))
        space = ImageFeatures(tiny_backbone(scratch, seed=5), cache=None).fit(None).spaces_[0]
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text(json.dumps({"space id": space.id, **golden}) + "\n")
