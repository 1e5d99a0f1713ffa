"""What all figures share: formats, and bytes that are the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import rc_context

from gapkit import ConfigError
from gapkit import _drawing as drawing


def picture(path: Path) -> bytes:
    with rc_context(drawing.STYLE):
        figure = drawing.sheet(3.0, 2.0)
        figure.subplots().plot([1.0, 2.0], [3.0, 5.0])
        drawing.write(figure, path)
    return path.read_bytes()


@pytest.mark.parametrize(("suffix", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")])
def test_files_are_the_same_every_time_and_have_the_format_of_their_name(
    suffix: str, head: bytes, tmp_path: Path
) -> None:
    first = picture(tmp_path / f"a.{suffix}")
    assert first.startswith(head)
    assert picture(tmp_path / f"b.{suffix}") == first
    assert b"Date" not in first


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    old = picture(path)
    with rc_context(drawing.STYLE):
        figure = drawing.sheet(3.0, 2.0)
        figure.text(0.5, 0.5, "$\\nonsense{$")
        with pytest.raises(ValueError, match="nonsense"):
            drawing.write(figure, path)
    assert path.read_bytes() == old


@pytest.mark.parametrize("name", ["a.jpeg", "png", "a", "a.png.gz"])
def test_other_formats_are_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot be written as '{name}'") as error:
        drawing.check_format(name)
    assert "png" in error.value.fix
