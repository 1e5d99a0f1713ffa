"""Every example runs to its end, where it asserts something about physics, and draws its figure."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from gapkit import GapkitWarning

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


LONG = {"04_choose_settings"}  # minutes
MARKED = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in EXAMPLES]


@pytest.mark.parametrize("path", MARKED)
def test_example(path: Path, tmp_path: Path) -> None:
    """In a copy, so that the figures of the README are not overwritten."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "examples" / "figures").mkdir(parents=True)
    copy = shutil.copy(path, tmp_path / "examples")
    with pytest.warns(GapkitWarning, match=r"least squares|cut into blocks"):
        runpy.run_path(str(copy))
    assert {f.suffix for f in (tmp_path / "examples" / "figures").iterdir()} == {".png"}


def test_there_are_examples() -> None:
    """An empty folder must not pass."""
    assert len(EXAMPLES) >= 2
