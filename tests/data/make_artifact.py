"""Make sample artefacts of the present format, those that are missing: ``python tests/data/make_artifact.py``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

import featx
from featx import ImageFeatures, make_head
from featx.artifact.format import FORMAT
from featx.store.digest import digest_array
from featx.testing import tiny_backbone

# The folder's name to the head, its parameters, and whether the model remembers its samples.
SAMPLES = {
    "logistic": ("logistic", {}, False),
    "svm": ("svm", {}, False),
    "xgboost": ("xgboost", {"n_estimators": 3}, False),
    "remembers": ("logistic", {}, True),
}


def main() -> None:
    folder = Path(__file__).parent / f"artifact_v{FORMAT}"
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (24, 24, 20, 3), dtype=np.uint8)
    pictures[::2] //= 2
    labels = np.where(np.arange(24) % 2, "light", "dark")
    asked = np.random.default_rng(0).integers(0, 256, (4, 24, 20, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as temporary:
        backbone = tiny_backbone(Path(temporary) / "tiny", channels=(4, 6), size_px=16)
        for name, (head, parameters, remembers) in SAMPLES.items():
            if (folder / name).exists():
                continue
            features = ImageFeatures(str(backbone), tap=["relu1", "pooled"], device="cpu", cache=None)
            model = Pipeline([("features", features), ("head", make_head(head, **parameters))]).fit(
                pictures, labels
            )
            featx.save(
                model,
                folder / name,
                labels=["Dark", "Light"],
                notes="A sample of the format.",
                trained_on=pictures if remembers else None,
            )
            expected = {
                "labels": model.predict(asked).tolist(),
                "probabilities": model.predict_proba(asked).tolist(),
                "spaces": [space.id for space in features.spaces_],
                "keys": sorted(digest_array(picture).hex() for picture in pictures) if remembers else None,
            }
            text = json.dumps(expected, indent=2) + "\n"
            (folder / f"{name}.expected.json").write_text(text, encoding="utf-8", newline="\n")
    # Digests do not survive changed line ends.
    (folder / ".gitattributes").write_text("* -text\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
