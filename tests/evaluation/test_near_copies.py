"""Near-copies among samples: planted ones are found, groups are no finding, folds keep them together."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import featx
from featx.errors import DatasetError, ParameterError
from featx.evaluation.near_copies import NearCopies, fold_units, near_copies
from featx.inputs.samples import DigestSample
from featx.store.digest import digest_bytes, keys_array

EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded anew": lambda picture: picture,
    "scaled": lambda picture: picture.resize((picture.width * 7 // 10, picture.height * 7 // 10)),
    "cropped": lambda picture: picture.crop((4, 3, picture.width, picture.height)),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.85),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def photograph(seed: int) -> Image.Image:
    """A colourful picture of 96 x 80 pixels with edges at every scale."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).resize((96, 80)),
            dtype=np.float32,
        )
        for size in (3, 6, 12, 24)
    ]
    return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))


def encoded(picture: Image.Image, quality: int = 75) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def vectors_of(samples: list[bytes]) -> np.ndarray:
    """A stand-in for a network: one random layer on coarse pixels."""
    layer = np.random.default_rng(0).standard_normal((192, 64))
    rows = []
    for sample in samples:
        with Image.open(io.BytesIO(sample)) as picture:
            rows.append(np.maximum(np.asarray(picture.resize((8, 8)), dtype=float).ravel() @ layer / 255, 0))
    return np.asarray(rows, dtype=np.float32)


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    return [encoded(photograph(seed), 95) for seed in range(80)]


def find(samples: list[bytes], **known: object) -> NearCopies:
    arguments = {"modality": "image", "keys": keys_array(map(digest_bytes, samples)), "n_threads": 1} | known
    return near_copies(vectors_of(samples), samples, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("edit", EDITS)
def test_planted_copies_are_found_and_nothing_else(originals: list[bytes], edit: str) -> None:
    copies = [encoded(EDITS[edit](photograph(seed))) for seed in range(0, 80, 4)]
    found = find([*copies, *originals])
    assert sorted(map(tuple, found.pairs.tolist())) == [(i, len(copies) + 4 * i) for i in range(len(copies))]
    assert (np.diff(found.agreement) <= 0).all()  # the surest first
    assert found.agreement.min() > 0.9
    assert found.n_apart == found.n_unseen == 0


def test_copies_within_a_group_are_no_finding(originals: list[bytes]) -> None:
    samples = [*originals, encoded(photograph(0)), encoded(photograph(1))]
    groups = [f"patient {i}" for i in range(80)] + ["patient 0", "patient 2"]
    assert find(samples, groups=groups).pairs.tolist() == [[1, 81]]


def test_copies_within_a_group_are_a_finding_where_their_labels_differ(originals: list[bytes]) -> None:
    """Of a group of one label nothing is looked for; elsewhere nothing changes."""
    mirrored = encoded(EDITS["mirrored"](photograph(2)))
    samples = [*originals, *(encoded(photograph(seed)) for seed in (0, 1, 3)), mirrored]
    groups = [f"patient {i}" for i in range(80)] + ["patient 0", "patient 1", "patient 4", "patient 2"]
    labels = ["ill"] * 80 + ["well", "ill", "ill", "well"]
    found = find(samples, groups=groups, labels=labels)
    assert sorted(map(tuple, found.pairs.tolist())) == [(0, 80), (2, 83), (3, 82)]
    assert find(samples, groups=groups).pairs.tolist() == [[3, 82]]


def test_texts_within_a_group_are_a_finding_where_their_labels_differ() -> None:
    texts = [
        "my flight was late again today",
        "My flight was late again today!",
        "thank you all for the help",
    ]
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    for labels, pairs in ((["a", "b", "a"], [[0, 1]]), (["a", "a", "b"], [])):
        found = near_copies(vectors, texts, modality="text", groups=["p"] * 3, labels=labels)
        assert found.pairs.tolist() == pairs


def test_exact_copies_are_no_pairs_and_lie_in_the_cluster(originals: list[bytes]) -> None:
    samples = [*originals, originals[5], encoded(photograph(5)), originals[5]]
    found = find(samples)
    assert found.pairs.tolist() == [[5, 81]]
    assert len(set(found.clusters[[5, 80, 81, 82]].tolist())) == 1
    assert len(set(found.clusters.tolist())) == 80


def test_without_keys_exact_copies_are_near_copies(originals: list[bytes]) -> None:
    assert find([*originals, originals[5]], keys=None).pairs.tolist() == [[5, 80]]


def test_samples_known_by_their_digest_are_judged_by_their_vectors(originals: list[bytes]) -> None:
    samples = [*originals, encoded(photograph(7), 90), encoded(EDITS["mirrored"](photograph(8)))]
    keys = keys_array(map(digest_bytes, samples))
    hidden = [DigestSample(key.tobytes()) for key in keys]
    found = near_copies(vectors_of(samples), hidden, modality="image", keys=keys)
    assert found.pairs.tolist() == [[7, 80]]  # nothing tells these vectors that the other is a mirror image
    assert np.isnan(found.agreement).all()
    assert found.similarity.min() > 0.85
    assert found.n_unseen == 82


def test_a_file_that_is_gone_is_judged_by_its_vector_too(originals: list[bytes], tmp_path: Path) -> None:
    samples = [*originals, encoded(photograph(7), 90)]
    vectors, keys = vectors_of(samples), keys_array(map(digest_bytes, samples))
    gone = [*samples[:-1], str(tmp_path / "gone.jpg")]
    found = near_copies(vectors, gone, modality="image", keys=keys)
    assert (found.pairs.tolist(), found.n_unseen) == ([[7, 80]], 1)


def test_a_sample_without_a_vector_is_no_near_copy(originals: list[bytes]) -> None:
    samples = [*originals, encoded(photograph(3)), encoded(photograph(4))]
    vectors, keys = vectors_of(samples), keys_array(map(digest_bytes, samples))
    vectors[[80, 3, 10]] = np.nan
    keys[[3, 10]] = 0  # as embed leaves them
    found = near_copies(vectors, samples, modality="image", keys=keys)
    assert found.pairs.tolist() == [[4, 81]]
    assert found.clusters[3] != found.clusters[10]


def test_threads_change_nothing(originals: list[bytes]) -> None:
    samples = [*originals, *(encoded(photograph(seed), 60) for seed in range(30))]
    one, three = find(samples), find(samples, n_threads=3)
    assert one.pairs.tolist() == three.pairs.tolist()
    assert one.agreement.tolist() == three.agreement.tolist()


def test_files_arrays_and_pictures_are_read_as_bytes_are(originals: list[bytes], tmp_path: Path) -> None:
    samples: list[object] = list(originals)
    (tmp_path / "0.jpg").write_bytes(originals[0])
    samples[0], samples[1], samples[2] = str(tmp_path / "0.jpg"), np.asarray(photograph(1)), photograph(2)
    copies = [encoded(photograph(seed)) for seed in range(4)]
    found = near_copies(vectors_of([*originals, *copies]), [*samples, *copies], modality="image")
    assert sorted(map(tuple, found.pairs.tolist())) == [(i, 80 + i) for i in range(4)]


def test_edited_texts_are_found_and_retweets_across_groups() -> None:
    subjects = ("crew", "bag", "gate", "seat", "fare", "snack", "pilot", "queue")
    faults = (
        "was lost",
        "went missing",
        "arrived late",
        "was broken",
        "felt rude",
        "smelled odd",
        "cost double",
    )
    texts = [
        f"my {one} in {city} {fault} again today and nobody called me back about number {7 * len(one + fault + city)}{one[0]}"
        for one in subjects
        for fault in faults
        for city in ("Ohio", "Rome")
    ]
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(texts) + 3, 64)).astype(np.float32)
    edited = [
        f"RT @ann: {texts[0]}",
        texts[1].upper() + "!! http://t.co/x",
        texts[2].replace("again", "twice"),
    ]
    vectors[-3:] = vectors[:3] + rng.normal(0, 0.2, (3, 64))
    vectors[-3] = rng.standard_normal(64)  # the same words are found wherever the vector lies
    found = near_copies(vectors, [*texts, *edited], modality="text")
    assert set(map(tuple, found.pairs.tolist())) == {
        (0, len(texts)),
        (1, len(texts) + 1),
        (2, len(texts) + 2),
    }
    groups = [*map(str, range(len(texts))), "0", "1", "x"]
    grouped = near_copies(vectors, [*texts, *edited], modality="text", groups=groups)
    assert grouped.pairs.tolist() == [[2, len(texts) + 2]]


def test_rows_of_a_matrix_have_no_near_copies() -> None:
    rows = np.ones((4, 3), dtype=np.float32)
    keys = keys_array([b"a" * 16, b"b" * 16, b"a" * 16, b"c" * 16])
    found = near_copies(rows, list(rows), modality=None, keys=keys)
    assert len(found) == 0
    assert found.clusters.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_samples_are_no_mistake(originals: list[bytes], n: int) -> None:
    assert len(find(originals[:n])) == 0


def test_two_samples_can_be_near_copies(originals: list[bytes]) -> None:
    assert find([originals[0], encoded(photograph(0))]).pairs.tolist() == [[0, 1]]


def test_arguments_that_do_not_fit_are_refused(originals: list[bytes]) -> None:
    rows = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(
        ParameterError, match=r"expected 3 rows, one a sample; found an array of shape \(2, 3\)"
    ):
        near_copies(rows, originals[:3], modality="image")
    with pytest.raises(ParameterError, match="modality='sound'"):
        near_copies(rows, originals[:2], modality="sound")
    with pytest.raises(ParameterError, match="keys: expected 2"):
        near_copies(rows, originals[:2], modality="image", keys=keys_array([b"a" * 16]))
    with pytest.raises(DatasetError, match="groups: 1 for 2"):
        near_copies(rows, originals[:2], modality="image", groups=["a"])


def test_folds_keep_groups_copies_and_near_copies_together() -> None:
    keys = keys_array([bytes([i]) * 16 for i in (1, 2, 1, 3, 4, 5)])
    none = np.zeros(0, dtype=np.float32)
    near = NearCopies(pairs=np.array([[3, 4]]), similarity=none, agreement=none, clusters=np.arange(6))
    assert fold_units(["p", "q", "r", "q", "s", "t"], keys, near, 6).tolist() == [0, 1, 0, 1, 1, 2]
    assert fold_units(None, keys, near, 6).tolist() == [0, 1, 0, 2, 2, 3]
    assert fold_units(None, None, None, 3).tolist() == [0, 1, 2]


def test_a_real_slice_under_two_labels_is_found_and_slices_that_are_alike_are_not(
    data: Path, tmp_path: Path
) -> None:
    """Pairs of covid_ct_small that were looked at: one figure as COVID and as NonCOVID, and slices that two papers show."""
    dataset = featx.read_dataset(data / "covid_ct_small")
    assert dataset.groups is not None
    groups = np.asarray(dataset.groups)
    chosen = np.flatnonzero(
        [
            name.startswith(("covid_Patient_16", "covid_Patient_19", "non_crawled_patient_71"))
            for name in groups
        ]
    )
    samples = [dataset.samples[i] for i in chosen.tolist()]
    vectors = featx.ImageFeatures("compact", cache=tmp_path).fit_transform(samples)
    found = near_copies(vectors, samples, modality="image", groups=groups[chosen])
    pairs = {frozenset(pair) for pair in groups[chosen][found.pairs].tolist()}
    assert pairs == {
        frozenset({"covid_Patient_195", "non_crawled_patient_71"}),
        frozenset({"covid_Patient_196", "non_crawled_patient_71"}),
        frozenset({"covid_Patient_160", "covid_Patient_167"}),  # one slice in two papers
    }
    assert found.agreement.min() > 0.97
