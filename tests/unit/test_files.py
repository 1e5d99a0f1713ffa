"""Reading files: what is wrong, in which file, after how many good frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapkit.atoms.files import read_frames
from gapkit.errors import DataError

EXTXYZ = """\
2
Properties=species:S:1:pos:R:3 energy=-1.5 pbc="F F F"
H 0 0 0
H 0 0 0.75
1
Properties=species:S:1:pos:R:3 energy=-0.75 pbc="F F F"
Si 0 0 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.xyz"
    path.write_text(EXTXYZ)
    return path


def test_reading_files(file: Path) -> None:
    assert [len(atoms) for atoms in read_frames(file)] == [2, 1]
    assert [len(atoms) for atoms in read_frames(str(file), 1)] == [1]
    assert [len(atoms) for atoms in read_frames(file, "1:")] == [1]
    with pytest.raises(DataError, match=r"index '5:' selects no frame.*train\.xyz"):
        read_frames(file, "5:")
    with pytest.raises(DataError, match=r"does not exist.*missing\.xyz"):
        read_frames(file.with_name("missing.xyz"))
    with pytest.raises(DataError, match="is a directory"):
        read_frames(file.parent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("not a structure\n", "cannot be read: "),
        (EXTXYZ.replace("Si 0 0 0\n", ""), "cannot be read: XYZError"),
        (EXTXYZ.replace("Si 0 0 0\n", "Qq 0 0 0\n"), "cannot be read: .*after 1 readable frames"),
        (EXTXYZ.replace("Si 0 0 0\n", "Si 0 0 x\n"), "cannot be read: .*after 1 readable frames"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_frames(path)
    assert "bad.xyz" in caught.value.where
