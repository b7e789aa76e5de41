"""``AugmentedClassifier``: each (picture, view) is computed once, no view of a test sample is in training."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.utils.estimator_checks as checks
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

import featx
from featx import Augment, AugmentedClassifier, EmbeddingStore, ImageFeatures, TextFeatures, make_head
from featx.backbones.augment import View
from featx.errors import DatasetError, ParameterError, UnreadableSampleError
from featx.testing import counted_rows, tiny_backbone
from featx.view_features import extract_views

FLIPS = Augment(horizontal_flip=True, rotation_range=20, brightness_range=(0.7, 1.3))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """24 pictures, (24, 36, 40, 3)."""
    rng = np.random.default_rng(7)
    blobs = rng.integers(0, 256, (24, 9, 10, 3), dtype=np.uint8)
    return blobs.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def labels() -> list[str]:
    return ["ant", "bee"] * 12


@pytest.fixture(scope="module")
def paths(pictures: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    names = [str(folder / f"{i:02}.png") for i in range(len(pictures))]
    for name, pixels in zip(names, pictures, strict=True):
        Image.fromarray(pixels).save(name)
    return names


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "store")


@pytest.fixture
def features(tiny: Path, store: EmbeddingStore) -> ImageFeatures:
    return ImageFeatures(str(tiny), device="cpu", cache=store)


@pytest.fixture
def model(features: ImageFeatures) -> AugmentedClassifier:
    return AugmentedClassifier(features, make_head("logistic"), FLIPS, n_views=4)


def views(n: int) -> list[View]:
    return [View(FLIPS, number) for number in range(1, n + 1)]


def test_one_view_and_no_augmentation_are_the_plain_pipeline(
    features: ImageFeatures, paths: list[str], labels: list[str]
) -> None:
    plain = Pipeline([("features", features), ("head", make_head("logistic"))]).fit(paths, labels)
    for augment, n_views in ((FLIPS, 1), (None, 8), (Augment(), 8)):
        model = AugmentedClassifier(features, make_head("logistic"), augment, n_views=n_views).fit(
            paths, labels
        )
        np.testing.assert_array_equal(model.predict_proba(paths), plain.predict_proba(paths))


def test_a_second_head_reads_what_the_first_fit_computed(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    with counted_rows() as rows:
        model.fit(paths, labels)
        assert rows.n == 4 * 24
        clone(model).set_params(head=make_head("svm"), tta=True).fit(paths, labels).predict(paths)
        cross_val_score(model, paths, labels, cv=3)
        assert rows.n == 4 * 24


def test_predictions_are_on_pictures_as_they_are_unless_tta(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    model.fit(paths[:16], labels[:16])
    with counted_rows() as rows:
        model.predict_proba(paths[16:])
        assert rows.n == 8
    model.set_params(tta=True).fit(paths[:16], labels[:16])
    with counted_rows() as rows:
        found = model.predict_proba(paths[16:])
        assert rows.n == 3 * 8
    each = extract_views(model.features_, paths[16:], views(3))[1]
    head = model.view_head_.head_
    np.testing.assert_allclose(
        found, np.mean([head.predict_proba(each[:, v]) for v in range(4)], axis=0), atol=1e-6
    )
    assert model.predict(paths[16:]).tolist() == model.classes_[found.argmax(axis=1)].tolist()


def test_no_view_of_a_test_sample_is_in_training(
    features: ImageFeatures, paths: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AugmentedClassifier(features, make_head("logistic"), FLIPS, n_views=3)
    features.fit(None)
    _, vectors = extract_views(features, paths, views(2))
    seen: list[NDArray[np.floating]] = []
    plain = LogisticRegression.fit

    def fit(self: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
        seen.append(np.array(X))
        return plain(self, X, y, sample_weight)

    monkeypatch.setattr(LogisticRegression, "fit", fit)
    model.set_params(head=LogisticRegression())
    folds = list(StratifiedKFold(4).split(paths, labels))
    cross_val_predict(model, paths, labels, cv=folds)
    assert len(seen) == 4
    for rows, (train, _) in zip(seen, folds, strict=True):
        np.testing.assert_array_equal(rows, vectors[train].reshape(-1, vectors.shape[2]))


def test_evaluate_fits_on_views_and_judges_pictures_as_they_are(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    with counted_rows() as rows:
        found = featx.evaluate(
            model, paths, labels, cv=4, n_bootstrap=100, at_specificity=None, at_sensitivity=None
        )
        assert rows.n == 4 * 24  # once for all folds
    features = model.features.fit(None)
    outcomes = found.main.outcomes
    assert outcomes.proba is not None
    for fold in range(4):
        test = outcomes.samples[outcomes.folds == fold]
        train = np.setdiff1d(np.arange(24), test)
        alone = clone(model).fit([paths[i] for i in train], [labels[i] for i in train])
        expected = alone.predict_proba([paths[i] for i in test])
        np.testing.assert_allclose(outcomes.proba[outcomes.folds == fold], expected, atol=1e-6)
    assert found.spaces == tuple(space.id for space in features.spaces_)
    assert found.modality == "image"
    assert "near" in " ".join(found.looked_for)


def test_evaluate_makes_views_of_the_training_part_alone(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    split = ["train"] * 14 + ["test"] * 8 + [""] * 2
    with counted_rows() as rows:
        found = featx.evaluate(model, paths, labels, split=split, n_bootstrap=100)
        assert rows.n == 24 + 3 * 14
    alone = clone(model).fit(paths[:14], labels[:14])
    assert found["accuracy"].value == alone.score(paths[14:22], labels[14:22])
    with counted_rows() as rows:
        featx.evaluate(clone(model).set_params(tta=True), paths, labels, split=split, n_bootstrap=100)
        assert rows.n == 3 * 10


def test_evaluate_without_a_cache_computes_each_view_once_too(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    model.features.set_params(cache=None)
    with counted_rows() as rows:
        featx.evaluate(
            model,
            paths,
            labels,
            cv=3,
            n_bootstrap=100,
            calibrate="sigmoid",
            param_grid={"head__logistic__C": [0.01, 1.0], "tta": [False, True]},
        )
        assert rows.n == 4 * 24


def test_evaluate_searches_augmentations_and_compare_sets_them_side_by_side(
    model: AugmentedClassifier, features: ImageFeatures, paths: list[str], labels: list[str]
) -> None:
    searched = featx.evaluate(
        model, paths, labels, cv=2, n_bootstrap=100, param_grid={"augment": [None, FLIPS], "n_views": [2, 3]}
    )
    assert {"augment", "n_views"} == set(searched.fits[0].params)
    plain = Pipeline([("features", features), ("head", make_head("logistic"))])
    both = featx.compare({"plain": plain, "augmented": model}, paths, labels, cv=2, n_bootstrap=100)
    assert both.difference("augmented", "plain").low is not None


def test_evaluate_judges_a_fitted_model(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    model.fit(paths[:12], labels[:12])
    found = featx.evaluate(model, paths[12:], labels[12:], cv="prefit", n_bootstrap=100)
    assert found["accuracy"].value == model.score(paths[12:], labels[12:])


def test_groups_reach_the_head_through_evaluate(
    model: AugmentedClassifier, paths: list[str], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    plain = AugmentedClassifier.parts(model, fitted=False)[1].__class__.fit

    def fit(self: Any, X: Any, y: Any, groups: Any = None) -> Any:
        told.append((len(X), groups))
        return plain(self, X, y, groups)

    monkeypatch.setattr("featx.view_head.ViewHead.fit", fit)
    groups = [i // 4 for i in range(24)]
    featx.evaluate(
        model, paths, labels, groups=groups, cv=3, n_bootstrap=100, at_specificity=None, at_sensitivity=None
    )
    assert all(
        np.bincount(np.unique(of, return_inverse=True)[1]).tolist() == [4] * (n // 4) for n, of in told
    )


def test_a_grid_over_augmentations_and_the_heads_parameters(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    grid = {"augment": [None, FLIPS], "n_views": [2, 3], "head__logistic__C": [0.01, 1.0]}
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(paths, labels)
    assert set(search.best_params_) == set(grid)
    assert search.predict(paths).shape == (24,)


def test_it_is_a_step_of_a_pipeline_and_takes_arrays_and_bytes(
    model: AugmentedClassifier, pictures: NDArray[np.uint8], labels: list[str], paths: list[str]
) -> None:
    piped = Pipeline([("model", model)]).fit(pictures, labels)
    assert (
        piped.predict(pictures).tolist()
        == clone(model).fit(list(pictures), labels).predict(pictures).tolist()
    )
    read = [Path(path).read_bytes() for path in paths]
    np.testing.assert_array_equal(
        clone(model).fit(read, labels).predict_proba(read),
        clone(model).fit(paths, labels).predict_proba(paths),
    )


def test_a_calibration_around_it_fits_on_samples_of_its_own_folds(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    with counted_rows() as rows:
        calibrated = CalibratedClassifierCV(model, cv=3).fit(np.asarray(paths), labels)
        assert calibrated.predict_proba(paths).shape == (24, 2)
        assert rows.n == 4 * 24


def test_a_pickle_predicts_the_same(model: AugmentedClassifier, paths: list[str], labels: list[str]) -> None:
    model.set_params(tta=True).fit(paths, labels)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(paths), model.predict_proba(paths))


@pytest.mark.parametrize("head", ["logistic", "svm", "xgboost"])
@pytest.mark.parametrize("tta", [False, True])
def test_what_is_saved_predicts_the_same_when_loaded(
    head: str, tta: bool, model: AugmentedClassifier, paths: list[str], labels: list[str], tmp_path: Path
) -> None:
    model.set_params(head=make_head(head), tta=tta).fit(paths, labels)
    loaded = featx.load(featx.save(model, tmp_path / "model"), cache=None)
    np.testing.assert_array_equal(loaded.predict_proba(paths), model.predict_proba(paths))
    assert Augment.from_dict(loaded.augment) == FLIPS
    refitted = clone(loaded).fit(paths, labels)
    np.testing.assert_array_equal(refitted.predict_proba(paths), model.predict_proba(paths))


def test_a_saved_pipeline_of_one_view_is_of_that_view_and_says_so(
    features: ImageFeatures, paths: list[str], labels: list[str], tmp_path: Path
) -> None:
    own = features.fit(None).backbone_.pixels()
    features.set_params(preprocess=dataclasses.replace(own, view=View(FLIPS, 2, seed=5)))
    model = Pipeline([("features", features), ("head", make_head("logistic"))]).fit(paths, labels)
    folder = featx.save(model, tmp_path / "model")
    assert "view 2 (seed 5) of Augment(rotation_range=20.0" in (folder / "README.md").read_text(
        encoding="utf-8"
    )
    loaded = featx.load(folder, cache=None)
    np.testing.assert_array_equal(loaded.predict_proba(paths), model.predict_proba(paths))


@pytest.mark.parametrize("tta", [False, True])
def test_predict_takes_a_saved_one(
    tta: bool, model: AugmentedClassifier, paths: list[str], labels: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    model.set_params(tta=tta).fit(paths, labels)
    folder = featx.save(model, tmp_path / "model")
    found = featx.predict(folder, [*paths, str(broken)], cache=None, skip_unreadable=True)
    assert found.labels.tolist() == [*model.predict(paths).tolist(), None]
    assert found.probabilities is not None
    # Batches of another size move float32 sums.
    np.testing.assert_allclose(found.probabilities[:-1], model.predict_proba(paths), atol=1e-5)


def test_methods_are_those_of_the_head(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    assert hasattr(model, "predict_proba")
    assert hasattr(model, "decision_function")
    trees = clone(model).set_params(head=make_head("xgboost"))
    assert not hasattr(trees, "decision_function")
    assert hasattr(trees.set_params(tta=True), "decision_function")
    assert np.shape(trees.fit(paths, labels).decision_function(paths)) == (24,)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_views": 0}, "n_views must be a whole number of at least 1"),
        ({"n_views": 2.5}, "n_views"),
        ({"tta": "no"}, "tta must be True or False, got 'no'"),
        ({"augment": "flips"}, "augment: expected a featx.Augment"),
        ({"augment": {"flip": True}}, "augment: expected some of"),
        ({"random_state": None}, "seed as a whole number"),
        ({"features": TextFeatures()}, "Views are made of pictures"),
        ({"features": "compact"}, "expected an ImageFeatures"),
        ({"head": KNeighborsClassifier()}, "takes no sample_weight"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_parameter_is_refused_in_words(
    wrong: dict[str, Any], words: str, model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    with pytest.raises(ParameterError, match=words):
        model.set_params(**wrong).fit(paths, labels)


def test_labels_are_one_a_sample(model: AugmentedClassifier, paths: list[str], labels: list[str]) -> None:
    with pytest.raises(DatasetError, match="23 labels for 24 samples"):
        model.fit(paths, labels[1:])
    with pytest.raises(DatasetError, match="requires y to be passed"):
        model.fit(paths, None)  # type: ignore[arg-type]  # as scikit-learn's checks call it


def test_labels_and_groups_that_name_nothing_are_refused(
    model: AugmentedClassifier, paths: list[str], labels: list[str]
) -> None:
    with pytest.raises(DatasetError, match="labels: 1 of 24 are missing, the first at index 3"):
        model.fit(paths, [*labels[:3], None, *labels[4:]])  # type: ignore[list-item]  # what is refused
    with pytest.raises(DatasetError, match="groups: 2 of 24 are missing, the first at index 0"):
        model.fit(paths, labels, groups=[np.nan, np.nan, *range(22)])
    with pytest.raises(DatasetError, match="groups: 23 for 24"):
        model.fit(paths, labels, groups=range(23))


def test_samples_that_cannot_be_read_are_named_by_fit_and_predict(
    model: AugmentedClassifier, paths: list[str], labels: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    model.features.set_params(on_error="nan")
    with pytest.raises(UnreadableSampleError, match=r"broken\.png \(index 24\).*Leave it out: ") as raised:
        model.fit([*paths, str(broken)], [*labels, "ant"])
    assert "on_error" not in str(raised.value)
    model.fit(paths, labels)
    with pytest.raises(UnreadableSampleError, match=r"broken\.png.*Leave it out \(2 in all\)"):
        model.predict_proba([str(broken), paths[0], str(tmp_path / "missing.png")])


def test_samples_that_cannot_be_read_are_left_out_of_an_evaluation(
    model: AugmentedClassifier, paths: list[str], labels: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    model.features.set_params(on_error="nan")
    found = featx.evaluate(model, [*paths, str(broken)], [*labels, "ant"], cv=2, n_bootstrap=100)
    assert (found.n_samples, len(found.skipped)) == (24, 1)


# --- scikit-learn's checks, those that apply to a classifier of pictures ---

APPLICABLE = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("name", APPLICABLE)
def test_sklearn_check(name: str, model: AugmentedClassifier) -> None:
    check: Callable[[str, Any], None] | None = getattr(checks, name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {name}")
    check("AugmentedClassifier", model)


def test_tags_are_those_of_a_classifier_of_pictures(model: AugmentedClassifier) -> None:
    tags = get_tags(model)
    assert tags.estimator_type == "classifier"
    assert tags.target_tags.required
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.string
