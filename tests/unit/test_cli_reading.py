"""Training frames that are there twice."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.io
import pytest

from gapkit import GapkitWarning, Keys
from gapkit.cli.reading import read_labelled, read_training
from tests.samples import frames


def test_frames_that_are_there_twice(tmp_path: Path) -> None:
    one, other = str(tmp_path / "a.xyz"), str(tmp_path / "b.xyz")
    ase.io.write(one, frames(3))
    ase.io.write(other, [*frames(2, seed=20)[1:], frames(3)[2]])
    with pytest.warns(GapkitWarning, match=r"3 frames of the data are there twice \(\S*a\.xyz is given twice\): they"):
        assert len(read_training([one, one], Keys())) == 8
    with pytest.warns(GapkitWarning, match=r"1 frame of .* twice \(.*b\.xyz, frame 2 is .*a\.xyz, frame 2\).* Fix: "):
        read_training([one, other], Keys())
    with warnings.catch_warnings():
        warnings.simplefilter("error", GapkitWarning)
        assert len(read_training([one], Keys())) == 4
        assert len(read_labelled([one, one], Keys())) == 8
