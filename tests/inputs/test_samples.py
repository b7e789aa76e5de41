"""Every container of samples becomes one sequence in its order; what is ambiguous or missing is refused."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featx.errors import InputError, SampleError
from featx.inputs.samples import DigestSample, as_samples, sample_name

PATHS = ["a/1.png", "b/2.png", "ü/3.png"]
PIXELS = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    "X",
    [
        PATHS,
        tuple(PATHS),
        deque(PATHS),
        [Path(path) for path in PATHS],
        [np.str_(path) for path in PATHS],
        np.array(PATHS),
        np.array(PATHS, dtype=object),
        np.array(PATHS, dtype=object).reshape(-1, 1),
        np.array(PATHS).reshape(-1, 1),
        np.array([Path(path) for path in PATHS], dtype=object),
        pd.Series(PATHS),
        pd.Series(PATHS, dtype=object),
        pd.Series(PATHS, dtype="category"),
        pd.Series(PATHS, dtype="string"),
        pd.Series(PATHS, index=[9, 9, 1]),
        pd.DataFrame({"path": PATHS}),
        pd.DataFrame({"path": PATHS}, dtype="string"),
        pd.DataFrame({0: [Path(path) for path in PATHS]}),
        pl.Series(PATHS),
        pl.Series("path", PATHS, dtype=pl.Categorical),
        pl.DataFrame({"path": PATHS}),
    ],
    ids=lambda X: type(X).__module__.split(".")[0] + "." + type(X).__name__,
)
def test_every_container_of_paths_gives_the_same_strings(X: Any) -> None:
    samples = as_samples(X)
    assert list(samples) == [str(Path(path)) for path in PATHS]
    assert {type(sample) for sample in samples} == {str}


def test_a_pyarrow_string_column_is_read() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    assert as_samples(pyarrow.table({"path": PATHS})) == PATHS
    assert as_samples(pd.DataFrame({"path": PATHS}, dtype=pd.ArrowDtype(pyarrow.string()))) == PATHS


def test_a_list_of_plain_paths_is_returned_itself() -> None:
    assert as_samples(PATHS) is PATHS


def test_a_mixture_keeps_its_order_and_its_objects() -> None:
    image = Image.new("L", (3, 3))
    mixed = ["a.png", b"\x89PNG", image, PIXELS, Path("b.png"), DigestSample(bytes(16)), bytearray(b"x")]
    samples = as_samples(mixed)
    assert samples[:2] == ["a.png", b"\x89PNG"]
    assert samples[2] is image
    assert samples[3] is PIXELS
    assert samples[4:] == ["b.png", DigestSample(bytes(16)), b"x"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_stack_is_not_copied(channels: int) -> None:
    stack = np.zeros((2, 6, 7, channels), np.uint8)
    samples = as_samples(stack)
    assert np.shares_memory(samples, stack)
    assert (len(samples), samples[1].shape) == (2, (6, 7, channels))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_whether_a_stack_is_taken_does_not_depend_on_its_length(n: int) -> None:
    grey = np.zeros((n, 6, 7), np.uint8)
    with pytest.raises(InputError, match=r"give \[X\].*X\[\.\.\., np\.newaxis\]"):
        as_samples(grey)
    assert len(as_samples(grey[..., np.newaxis])) == n


def test_an_object_array_of_images_keeps_them() -> None:
    X = np.empty((2, 1), dtype=object)
    X[0, 0], X[1, 0] = PIXELS, np.zeros((9, 9), np.uint8)
    assert [sample.shape for sample in as_samples(X)] == [(4, 5, 3), (9, 9)]


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=30))
def test_digests_are_read_from_their_text(keys: list[bytes]) -> None:
    digests = [DigestSample(key) for key in keys]
    texts = [str(digest) for digest in digests]
    assert as_samples(texts) == digests
    assert as_samples([*texts, "a.png"]) == [*digests, "a.png"]
    assert as_samples(digests) == digests


@given(
    st.lists(st.text(alphabet=st.characters(exclude_characters="\0"), min_size=1), min_size=1, max_size=20)
)
def test_any_other_text_is_a_path_unchanged(texts: list[str]) -> None:
    plain = [text for text in texts if not text.startswith(("digest:", "data:")) and "://" not in text] or [
        "x"
    ]
    assert as_samples(plain) == plain


def test_special_texts_are_found_anywhere_in_a_long_list() -> None:
    texts = [f"{i}.png" for i in range(20_000)]
    for position in (0, 8191, 8192, 19_999):
        changed = list(texts)
        changed[position] = str(DigestSample(bytes(range(16))))
        samples = as_samples(changed)
        assert samples[position] == DigestSample(bytes(range(16)))
        assert samples[:position] == texts[:position]
        assert samples[position + 1 :] == texts[position + 1 :]
        changed[position] = ""
        with pytest.raises(SampleError, match=rf"\(index {position}\): an empty path"):
            as_samples(changed)


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        ("a.png", "path"),
        (np.str_("a.png"), "path"),
        (Path("a.png"), "path"),
        (b"\x89PNG", "bytes"),
        (bytearray(b"x"), "bytes"),
        (Image.new("RGB", (2, 2)), "PIL image"),
        (DigestSample(bytes(16)), "digest"),
    ],
)
def test_a_single_sample_is_to_be_wrapped(X: Any, kind: str) -> None:
    with pytest.raises(InputError, match=rf"a single .*{kind}.*give \[X\]"):
        as_samples(X)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (3, 8, 8), (1, 8, 8), (9, 8, 8)])
def test_an_array_that_may_be_one_image_is_to_be_wrapped(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"may be a single image: give \[X\]"):
        as_samples(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "X",
    [iter(PATHS), (path for path in PATHS), map(str, PATHS), set(PATHS), {"a": "b"}, {"a": 1}.keys()],
    ids=lambda X: type(X).__name__,
)
def test_what_cannot_be_read_twice_in_order_is_refused(X: Any) -> None:
    with pytest.raises(InputError, match=r"give list\(X\)"):
        as_samples(X)


@pytest.mark.parametrize(
    "X", [[], (), np.array([], dtype=object), pd.Series([], dtype=object), pl.Series([], dtype=pl.String)]
)
def test_nothing_is_refused(X: Any) -> None:
    with pytest.raises(InputError, match="X is empty"):
        as_samples(X)
    with pytest.raises(InputError, match="X is empty"):
        as_samples(np.zeros((0, 5, 5, 3), np.uint8))


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"path": PATHS, "age": [1, 2, 3]}),
        pl.DataFrame({"path": PATHS, "age": [1, 2, 3]}),
        np.array([[path, "x"] for path in PATHS], dtype=object),
        pd.DataFrame(index=[1, 2]),
    ],
    ids=["pandas", "polars", "numpy", "no column"],
)
def test_several_columns_point_to_column_transformer(X: Any) -> None:
    with pytest.raises(InputError, match=r"X has [02] columns .*ColumnTransformer"):
        as_samples(X)


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_sample_is_named_by_its_index(missing: Any) -> None:
    for X in (
        ["a", missing],
        np.array(["a", missing], dtype=object),
        pd.Series(["a", missing], dtype=object),
    ):
        with pytest.raises(SampleError, match=r"sample 1 .*missing") as caught:
            as_samples(X)
        assert caught.value.index == 1


@pytest.mark.parametrize(
    "X", [pd.Series(["a", None]), pd.Series(["a", None], dtype="string"), pl.Series(["a", None])]
)
def test_a_missing_value_of_a_series_is_named(X: Any) -> None:
    with pytest.raises(SampleError, match=r"missing") as caught:
        as_samples(X)
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (3, "found int"),
        (2.5, "found float"),
        (["a.png"], "found list"),
        (np.zeros((4, 4, 3), np.float32), r"float32 array of shape \(4, 4, 3\): no window applies"),
        (np.zeros((4, 4), np.uint16), "uint16 array: a window is needed"),
        (np.zeros((2, 2, 2, 3), np.uint8), "expected"),
        ("", "an empty path"),
        ("a\0.png", "null character"),
        ("https://example.org/a.png", "download it first"),
        ("digest:12", "32 hex digits"),
        ("digest:" + "g" * 32, "32 hex digits"),
        ("digest:" + "00 " * 16, "32 hex digits"),
        ("digest:" + "00" * 17, "32 hex digits"),
    ],
)
def test_a_wrong_sample_is_named_by_its_index(sample: Any, words: str) -> None:
    for X in (["a.png", sample], [PIXELS, sample]):
        with pytest.raises(SampleError, match=words) as caught:
            as_samples(X)
        assert caught.value.index == 1


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"float32 array of shape \(8, 8, 3\): no window applies"),
        (np.zeros((2, 8, 8, 1), np.float64), r"values from 0 to 1: Window\(0\.5, 1\)"),
        (np.zeros((2, 8, 8), np.uint16), "uint16 array: a window is needed"),
        (np.zeros((2, 3, 8, 8), np.uint8), "Channels come last"),
        (np.zeros((2, 8, 8, 2), np.uint8), "expected"),
        (np.zeros(5), "float64 array of shape"),
        (np.array("a.png"), "array of objects of shape"),
        (np.array([b"a.png"]), r"char\.decode\(X"),
        (np.zeros((1, 1, 1, 1, 1), np.uint8), "shape"),
        (5, "a int"),
        (None, "a NoneType"),
        (pd.Series([1, 2]), "found int"),
    ],
)
def test_what_holds_no_samples_is_refused(X: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_samples(X)


@pytest.mark.filterwarnings("error")
def test_a_lazy_frame_is_to_be_collected() -> None:
    with pytest.raises(InputError, match=r"LazyFrame.*X\.collect\(\)"):
        as_samples(pl.DataFrame({"path": PATHS}).lazy())


@pytest.mark.parametrize(
    "data", [np.zeros((3, 4, 5, 3), np.uint8), np.array(PATHS), np.array(PATHS, dtype=object)]
)
def test_masked_entries_are_refused_and_a_mask_of_nothing_is_not(data: np.ndarray) -> None:
    masked = np.ma.masked_array(data, mask=False)
    assert type(as_samples(masked)) in (list, np.ndarray)
    assert len(as_samples(masked)) == 3
    masked[1] = np.ma.masked
    with pytest.raises(InputError, match=r"masked entries.*X\.compressed\(\)"):
        as_samples(masked)


def test_a_masked_picture_is_named_by_its_index() -> None:
    whole = np.ma.masked_array(PIXELS, mask=False)
    assert type(as_samples([PIXELS, whole])[1]) is np.ndarray
    with pytest.raises(SampleError, match=r"60 masked entries.*filled") as caught:
        as_samples([PIXELS, np.ma.masked_array(PIXELS, mask=True)])
    assert caught.value.index == 1


def test_a_digest_has_16_bytes() -> None:
    with pytest.raises(InputError, match="expected 16 bytes"):
        DigestSample(b"short")


def test_names_are_what_a_person_knows(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as opened:
        assert sample_name(opened, 1) == str(tmp_path / "x.png")
    assert sample_name(Image.new("RGB", (2, 2)), 1) == "sample 1 (PIL image)"
    assert sample_name("a.png", 1) == "a.png"
    assert sample_name(Path("a.png"), 1) == "a.png"
    assert sample_name(b"", 2) == "sample 2 (bytes)"
    assert sample_name(PIXELS, 3) == "sample 3 (array of shape (4, 5, 3))"
    assert sample_name(DigestSample(bytes(16)), 4) == "digest:" + "00" * 16
    assert sample_name(3.5, 5) == "sample 5 (float)"


def test_nothing_is_imported_to_recognise_it() -> None:
    code = (
        "import sys; from featx.inputs.samples import as_samples; as_samples(['a', b'b']);"
        "print(sorted({'pandas', 'polars', 'PIL', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_million_paths_cost_under_a_microsecond_each() -> None:
    """Measured 0.09; the bound is loose because other processes may run."""
    paths = [f"some/folder/image_{i:07d}.png" for i in range(300_000)]
    started_s = time.thread_time()
    assert as_samples(paths) is paths
    assert time.thread_time() - started_s < 0.3


def test_pil_images_are_recognised_however_they_were_made() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3)).save(buffer, "PNG")
    lazy = Image.open(buffer)
    assert as_samples([lazy])[0] is lazy
