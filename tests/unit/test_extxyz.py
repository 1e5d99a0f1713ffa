"""Frames of damaged files: how many can be read, and where the next one begins."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from gapkit.atoms.extxyz import pieces_of, readable
from gapkit.atoms.files import read_frames
from gapkit.errors import DataError

FRAME = """\
2
Properties=species:S:1:pos:R:3 energy=-1.5 pbc="F F F"
H 0 0 0
H 0 0 0.75
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "t.xyz"


@pytest.mark.parametrize(
    ("rest", "whole"),
    [
        ("", 3),
        ("\n\n", 3),
        (FRAME, 4),
        (FRAME[:-1], 3),  # the last number may have lost digits
        (FRAME[:-20], 3),
        (FRAME[:10], 3),
        ("2", 3),
        ("999999999999\n", 3),
        ("x\n" + FRAME, 3),
        ("\n" + FRAME, 3),
    ],
)
def test_pieces(file: Path, rest: str, whole: int) -> None:
    file.write_text(3 * FRAME + rest)
    pieces = list(pieces_of(file))
    assert [piece.whole for piece in pieces[:3]] == [True] * 3
    assert sum(piece.whole for piece in pieces) == whole
    assert [piece.line for piece in pieces] == [1, 5, 9, 13][: len(pieces)]
    assert len(pieces[0].read()) == 2


@pytest.mark.parametrize("index", [":", -1, "1:"])
@pytest.mark.parametrize("rest", [FRAME[:-20], "Lattice\n" + FRAME, FRAME.replace("0.75", "x"), "\xff\n"])
def test_the_true_number_of_readable_frames(file: Path, index: object, rest: str) -> None:
    """Whatever was asked for, and also where ASE gives up before it yields the first frame."""
    file.write_bytes((3 * FRAME + rest).encode("latin-1"))
    assert readable(file) == (3, 13)
    with pytest.raises(DataError, match=r"after 3 readable frames; the next one begins at line 13\)"):
        read_frames(file, index)


@pytest.mark.parametrize("index", [":", -1])
def test_a_blank_line_between_frames_loses_none_in_silence(file: Path, index: object) -> None:
    """ASE stops there as if the file ended."""
    file.write_text(2 * FRAME + "\n \n" + FRAME)
    with pytest.raises(DataError, match=r"all that follows would be lost \(.*t\.xyz, line 9\)"):
        read_frames(file, index)
    file.write_text("\n" + FRAME)
    with pytest.raises(DataError, match=r"would be lost \(.*t\.xyz, line 1\)"):
        read_frames(file, index)
    file.write_text("1\n\nH 0 0 0\n" * 3 + "\n\n")  # comments may be blank, and so may the end
    assert len(read_frames(file)) == 3


def test_packed_files_and_names_without_an_end_are_read_alike(tmp_path: Path) -> None:
    packed = tmp_path / "t.xyz.gz"
    packed.write_bytes(gzip.compress((FRAME + "\n" + FRAME).encode()))
    with pytest.raises(DataError, match=r"would be lost \(.*t\.xyz\.gz, line 5\)"):
        read_frames(packed)
    packed.write_bytes(gzip.compress((2 * FRAME + FRAME.replace("0.75", "x")).encode()))
    with pytest.raises(DataError, match=r"after 2 readable frames; the next one begins at line 9"):
        read_frames(packed)
    many = np.random.default_rng(0).random(400)
    packed.write_bytes(gzip.compress("".join(FRAME.replace("0.75", str(z)) for z in many).encode())[:-200])
    with pytest.raises(DataError, match=r"cannot be read: EOFError.*t\.xyz\.gz, after [1-9]\d* readable frames"):
        read_frames(packed)
    other = tmp_path / "t.dat.gz"
    other.write_bytes(gzip.compress(FRAME.encode()))
    with pytest.raises(DataError, match=r"rename it to t\.xyz\.gz"):
        read_frames(other)
    bare = tmp_path / "frames"
    bare.write_text(FRAME + "\n" + FRAME)
    with pytest.raises(DataError, match="would be lost"):
        read_frames(bare)


def test_files_without_frames_and_with_other_names(file: Path) -> None:
    for index in (":", -1):
        file.write_text(" \n\n")
        with pytest.raises(DataError, match=r"holds no frame .*t\.xyz"):
            read_frames(file, index)
    good = file.with_name("good.dat")
    good.write_text(FRAME)
    with pytest.raises(DataError, match=r"This is extended XYZ, but .*good\.dat.* rename it to good\.xyz"):
        read_frames(good)


def test_a_file_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file.write_text(FRAME)
    monkeypatch.setattr("ase.io.iread", refuse)
    with pytest.raises(DataError, match=r"may not be read .*t\.xyz"):
        read_frames(file)
