"""A saved model remembers what it was trained on: which samples, and nothing else of them."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

import featx
from featx.artifact import describe, training_keys
from featx.artifact.manifest import from_json, to_json
from featx.artifact.trained_on import from_npy, to_npy
from featx.errors import (
    ArtifactError,
    InputError,
    LeakWarning,
    ParameterError,
    UnreadableSampleError,
)
from featx.evaluation.remembered import remembered_keys
from featx.store.digest import digest_array, digest_file
from featx.testing import counted_rows

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture
def saved(fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path) -> Path:
    return featx.save(fitted(), tmp_path / "model", trained_on=pictures)


def expected_keys(pictures: NDArray[np.uint8]) -> list[bytes]:
    return sorted({digest_array(picture) for picture in pictures})


def test_distinct_digests_in_ascending_order(
    fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = fitted()
    with counted_rows() as rows:
        folder = featx.save(model, tmp_path / "model", trained_on=[*pictures, *pictures[:5]])
    assert rows.n == 0  # digests need no network, also without a cache
    keys = training_keys(folder)
    assert keys is not None
    assert [key.tobytes() for key in keys] == expected_keys(pictures)
    assert describe(folder).n_training_samples == len(pictures)
    np.testing.assert_array_equal(np.load(folder / "training.npy"), keys)


def test_order_and_repetitions_leave_no_trace(
    fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    one = featx.save(fitted(), tmp_path / "one", trained_on=pictures)
    other = featx.save(fitted(), tmp_path / "other", trained_on=[*pictures[::-1], *pictures])
    assert (one / "training.npy").read_bytes() == (other / "training.npy").read_bytes()


def test_the_model_loads_and_predicts_as_without(
    saved: Path, fitted: Callable[..., Any], pictures: NDArray[np.uint8]
) -> None:
    np.testing.assert_array_equal(
        featx.load(saved, cache=None).predict_proba(pictures), fitted().predict_proba(pictures)
    )
    info = describe(saved)
    assert from_json(to_json(info)) == info
    assert "training.npy" in [record.path for record in info.files]


def test_nothing_is_remembered_unasked(fitted: Callable[..., Any], tmp_path: Path) -> None:
    folder = featx.save(fitted(), tmp_path / "model")
    assert describe(folder).n_training_samples is None
    assert training_keys(folder) is None
    assert not (folder / "training.npy").exists()
    assert "training.npy" not in (folder / "README.md").read_text()


def test_the_readme_says_what_is_remembered(saved: Path) -> None:
    text = " ".join((saved / "README.md").read_text().split())
    assert "`training.npy` holds digests of the 30 distinct samples" in text
    assert "short texts can be guessed" in text


def test_an_artefact_of_before_remembers_nothing() -> None:
    assert training_keys(DATA / "artifact_v1" / "logistic") is None


def test_a_search_remembers_what_its_best_was_fitted_on(
    features: featx.ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    model = Pipeline([("features", features), ("head", LogisticRegression())])
    search = GridSearchCV(model, {"head__C": [0.1, 1.0]}, cv=2).fit(pictures, y)
    featx.save(search, tmp_path / "model", trained_on=pictures)
    assert describe(tmp_path / "model").n_training_samples == 30


def test_a_classifier_of_views_remembers_its_samples(
    features: featx.ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    model = featx.AugmentedClassifier(features, featx.make_head("logistic"), None, n_views=1).fit(pictures, y)
    keys = training_keys(featx.save(model, tmp_path / "model", trained_on=pictures))
    assert keys is not None
    assert [key.tobytes() for key in keys] == expected_keys(pictures)


def test_where_samples_do_not_come_first_it_is_refused_in_words(
    features: featx.ImageFeatures,
    fitted: Callable[..., Any],
    pictures: NDArray[np.uint8],
    y: NDArray[np.str_],
    tmp_path: Path,
) -> None:
    table = pd.DataFrame({"image": pd.Series(list(pictures), dtype=object)})
    columns = make_pipeline(ColumnTransformer([("image", features, "image")]), LogisticRegression())
    refused = {
        "Pipeline that begins with a ColumnTransformer": (columns.fit(table, y), table),
        "LogisticRegression": (LogisticRegression().fit(np.eye(3), [0, 1, 0]), np.eye(3)),
        "CalibratedClassifierCV": (CalibratedClassifierCV(fitted(), cv=2).fit(pictures, y), pictures),
    }
    for found, (model, X) in refused.items():
        with pytest.raises(ParameterError, match=rf"trained_on: .*found a {found}\. Leave trained_on out"):
            featx.save(model, tmp_path / "model", trained_on=X)
    assert list(tmp_path.iterdir()) == []


def test_samples_that_are_none_are_refused_before_anything_is_written(
    fitted: Callable[..., Any], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = fitted()
    for wrong, error in (([], InputError), ("a.png", InputError), (["gone.png"], UnreadableSampleError)):
        with pytest.raises(error):
            featx.save(model, tmp_path / "model", trained_on=wrong)
    model.set_params(features__on_error="nan")
    with pytest.raises(ParameterError, match="none of its 2 samples could be read"):
        featx.save(model, tmp_path / "model", trained_on=["gone.png", None])
    assert list(tmp_path.iterdir()) == []
    featx.save(model, tmp_path / "model", trained_on=["gone.png", *pictures])
    assert describe(tmp_path / "model").n_training_samples == 30


# --- files that somebody changed ---


def test_a_changed_file_is_refused_by_whoever_loads_and_by_whoever_asks(saved: Path) -> None:
    path = saved / "training.npy"
    content = path.read_bytes()
    for changed in (content[:-1] + b"\0", content[:-16], b""):
        path.write_bytes(changed)
        for read in (featx.load, training_keys):
            with pytest.raises(ArtifactError, match=r"training\.npy: not the file that was saved"):
                read(saved)
    path.unlink()
    for read in (featx.load, training_keys):
        with pytest.raises(ArtifactError, match=r"training\.npy: a file of the artefact is missing"):
            read(saved)


def npy(array: NDArray[Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **how)
    return buffer.getvalue()


def hostile(content: bytes, keys: NDArray[np.uint8]) -> dict[str, bytes]:
    """Files whose digest is made to agree."""
    claims = content.replace(b"(30, 16)", b"(30000000000, 16)")[:128] + content[128:]
    return {
        "empty": b"",
        "no array": b"training samples",
        "fewer": to_npy(keys[:29]),
        "twice": to_npy(keys[[0, *range(29)]]),
        "in another order": to_npy(keys[::-1]),
        "more than it says": content + bytes(16),
        "less than it says": content[:-16],
        "another type": npy(keys.astype(np.int8)),
        "by columns": npy(np.asfortranarray(keys)),
        "objects": npy(np.asarray([{"a": 1}] * 30, dtype=object), allow_pickle=True),
        "more than memory": claims,
        "another version": content[:6] + b"\x02" + content[7:],
    }


@pytest.mark.parametrize("kind", hostile(to_npy(np.zeros((30, 16), np.uint8)), np.zeros((30, 16), np.uint8)))
def test_a_file_that_is_no_such_array_is_refused_in_words(saved: Path, kind: str) -> None:
    path = saved / "training.npy"
    keys = training_keys(saved)
    assert keys is not None
    content = hostile(path.read_bytes(), keys)[kind]
    assert content != path.read_bytes()
    path.write_bytes(content)
    redigest(saved)
    with pytest.raises(ArtifactError, match=r"training\.npy: its .*Save the model again"):
        training_keys(saved)
    with pytest.raises(ArtifactError, match=r"training\.npy: its .*Save the model again"):
        featx.load(saved, cache=None)


def test_a_loaded_model_remembers_until_it_is_fitted_anew(
    saved: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = featx.load(saved, cache=None)
    np.testing.assert_array_equal(remembered_keys(model), training_keys(saved))
    np.testing.assert_array_equal(remembered_keys(pickle.loads(pickle.dumps(model))), training_keys(saved))
    model.predict(pictures[:3])
    assert remembered_keys(model) is not None
    assert remembered_keys(clone(model)) is None
    model.fit(pictures[:20], ["a", "b"] * 10)
    assert remembered_keys(model) is None


def test_a_loaded_model_that_is_saved_again_takes_no_digests_along(saved: Path, tmp_path: Path) -> None:
    again = featx.save(featx.load(saved, cache=None), tmp_path / "again")
    assert training_keys(again) is None
    assert remembered_keys(featx.load(again, cache=None)) is None


def test_a_loaded_model_is_not_judged_on_what_it_knows_without_a_word(
    saved: Path, pictures: NDArray[np.uint8]
) -> None:
    model = featx.load(saved, cache=None)
    labels = [str(label) for label in model.predict(pictures)]
    kinds = model.classes_.dtype.type
    with pytest.warns(LeakWarning, match="trained on every one of these 30 samples"):
        found = featx.evaluate(
            model, list(pictures), [kinds(label) for label in labels], cv="prefit", n_bootstrap=100
        )
    assert (found.n_trained_on, found.is_unchecked) == (30, False)


def redigest(folder: Path, **changed: Any) -> None:
    values = json.loads((folder / "artifact.json").read_text())
    for entry in values["files"]:
        path = folder / entry["path"]
        entry |= {"n_bytes": path.stat().st_size, "digest": digest_file(path).hex()}
    (folder / "artifact.json").write_text(json.dumps(values | changed))


def test_a_number_that_does_not_fit_is_refused(saved: Path) -> None:
    for wrong in (-1, 1.5, "30", True, [30]):
        redigest(saved, n_training_samples=wrong)
        with pytest.raises(ArtifactError, match="n_training_samples is"):
            describe(saved)
    for other in (0, 29, 31, 10**30):
        redigest(saved, n_training_samples=other)
        with pytest.raises(ArtifactError, match=rf"not the array of {other} digests"):
            training_keys(saved)
    redigest(saved, n_training_samples=30, files=[])
    with pytest.raises(ArtifactError, match=r"training\.npy is needed and not listed"):
        training_keys(saved)


@given(st.sets(st.binary(min_size=16, max_size=16), max_size=20))
def test_keys_are_read_back_equal_and_numpy_reads_the_same(digests: set[bytes]) -> None:
    keys = np.frombuffer(b"".join(sorted(digests)), dtype=np.uint8).reshape(-1, 16)
    content = to_npy(keys)
    np.testing.assert_array_equal(from_npy(content, len(keys)), keys)
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), keys)
