"""Which picture of a file a name means."""

from __future__ import annotations

import pytest

from featx.inputs.frames import Frame, file_of, parse_frame


@pytest.mark.parametrize(
    "frame", [Frame("frame", 0), Frame("axial", 40), Frame("sagittal", 3, 7), Frame("coronal", 123456789)]
)
def test_a_frame_written_behind_a_file_is_read_again(frame: Frame) -> None:
    assert parse_frame(f"a/b#c.nii.gz#{frame}") == ("a/b#c.nii.gz", frame)


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "a#1.png",
        "a#frame=.png",
        "a#frame=-1",
        "a#frame=1x",
        "a#Frame=1",
        "a#axial=1.5",
        "a#frame=1\n",
    ],
)
def test_other_names_are_those_of_files(name: str) -> None:
    assert parse_frame(name) == (name, None)
    assert file_of(name) == name
