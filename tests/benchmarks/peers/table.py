"""The table at the end: rows of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """What was done, both figures, their ratio (above 1: gapkit is better), and what was aimed at."""

    work: str
    gapkit: str
    peer: str = ""
    ratio: str = ""
    aim: str = ""


def versus(work: str, own: float, peer: float, shown: Callable[[float], str], aim: str = "", note: str = "") -> Row:
    """A row of two figures, both shown in the same way, of which the smaller is the better."""
    return Row(work, shown(own), shown(peer) + note, times(peer, own), aim)


def errors(work: str, own: Sequence[float], peer: Sequence[float]) -> list[Row]:
    """Rows of mean absolute errors of energy and forces."""
    return [
        versus(f"{work}, energy", own[0], peer[0], lambda value: f"{value:.2f} meV/atom"),
        versus(f"{work}, forces", own[1], peer[1], lambda value: f"{value:.4f} eV/Å"),
    ]


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [Row._fields, ("---",) * len(Row._fields), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times(peer: float, own: float) -> str:
    """How many times less gapkit takes."""
    return f"{peer / own:.1f} ×"


def gigabytes(value: float) -> str:
    """A memory in GB."""
    return f"{value:.2f} GB"


def seconds(value: float) -> str:
    """A time in s."""
    return f"{value:.1f} s"


def per_atom(value: float) -> str:
    """A time per atom, given in s."""
    return f"{1e6 * value:.1f} µs/atom"


def milliseconds(value: float) -> str:
    """A time in ms, given in s."""
    return f"{1e3 * value:.2f} ms"
