"""What all figures share: formats, style, an empty sheet, and a file that is the same every time."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gapkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = ("png", "pdf", "svg")
STYLE: Final[Any] = {
    "font.size": 12,
    "axes.labelsize": 13,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.9,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.hashsalt": "gapkit",
}


def check_format(path: str | os.PathLike[str]) -> None:
    """ConfigError for a file name that says no format which can be drawn."""
    if _format(path) not in FORMATS:
        what = f"a figure cannot be written as '{Path(path).name}'"
        raise ConfigError(what, fix=nearest(_format(path), FORMATS))


def sheet(width: float, height: float, *, w_pad: float = 0.1, h_pad: float = 0.1, wspace: float = 0.02) -> Figure:
    """An empty figure of this size in inches, whose panels never overlap; to be made and filled in the style."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure((width, height), layout=ConstrainedLayoutEngine(w_pad=w_pad, h_pad=h_pad, wspace=wspace))


def render(figure: Figure, path: str | os.PathLike[str]) -> bytes:
    """The figure in the format of the file name, 200 dots per inch; the same bytes every time."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)  # the other formats switch to their own
    kind = _format(path)
    undated: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    stream = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(stream, format=kind, dpi=200, metadata=undated)
    return stream.getvalue()


def write(figure: Figure, path: str | os.PathLike[str]) -> None:
    """The figure as a file, which is not touched before all of it is drawn."""
    Path(path).write_bytes(render(figure, path))


def _format(path: str | os.PathLike[str]) -> str:
    return Path(path).suffix.lower().lstrip(".")
