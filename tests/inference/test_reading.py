"""What stands where an image should be is named, and never waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx import ImageFeatures
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import FeatxWarning, UnreadableSampleError
from featx.inference.reading import Reader, unreadable_path
from featx.testing import tiny_backbone

POSIX = pytest.mark.skipif(os.name != "posix", reason="named pipes and sockets lie in folders on POSIX only")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture
def special(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Paths of what is no file, by what it is called."""
    monkeypatch.chdir(tmp_path)  # the name of a socket may have a hundred bytes or so
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        yield {
            "pipe": "a named pipe",
            "link": "a named pipe",
            "socket": "a socket",
            "/dev/zero": "a device",
            "folder": "a folder",
        }


@POSIX
@pytest.mark.parametrize("cached", [False, True])
def test_what_is_no_file_is_named_and_not_opened(
    special: dict[str, str], tiny: Path, tmp_path: Path, cached: bool
) -> None:
    Image.new("RGB", (40, 40)).save("a.png")
    features = ImageFeatures(str(tiny), device="cpu", cache=tmp_path / "store" if cached else None).fit([])
    for path, kind in special.items():
        with pytest.raises(UnreadableSampleError, match=f"is {kind}, expected an image file") as caught:
            features.transform(["a.png", path])
        assert (caught.value.index, caught.value.name) == (1, path)
    with pytest.warns(FeatxWarning, match=r"5 sample\(s\) could not be embedded"):
        rows = features.set_params(on_error="nan").transform(["a.png", *special])
    assert np.isnan(rows).all(axis=1).tolist() == [False] + [True] * len(special)


@POSIX
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(special: dict[str, str]) -> None:
    preprocess = ImagePreprocess.imagenet()
    with Reader(["pipe", "/dev/zero"], preprocess, 1) as reader:
        pipe, zeros = reader.begin(np.arange(2))
    assert "named pipe" in str(pipe.error)
    assert "a device" in str(zeros.error)


def test_a_file_that_came_meanwhile_is_not_called_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert "Run again" in unreadable_path(tmp_path / "a.png").message
    assert "no such file" in unreadable_path(tmp_path / "b.png").message
