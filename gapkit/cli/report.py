"""Results as text for a terminal: aligned columns, units in the header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gapkit import Evaluation
from gapkit.typing import KINDS, Kind

HEADINGS: Final[dict[Kind, tuple[str, int]]] = {
    "energy": ("energy (meV/atom)", 3),
    "forces": ("forces (eV/Å)", 4),
    "stress": ("stress (GPa)", 3),
}
"""Heading of the two columns of each kind, and their decimals."""


MOST_GROUPS: Final = 40
"""More config_types than these fill pages: then `SHOWN_GROUPS` are shown."""
SHOWN_GROUPS: Final = 20


def columns(rows: Iterable[Sequence[str]], left: int = 1, gap: str = "  ") -> list[str]:
    """Rows of text in columns of equal width, the first `left` of them flush left, the others flush right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        gap.join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def plain(value: Any) -> str:
    """A setting for a person: {"function": "poly", "r0": 5.0} becomes (function poly, r0 5)."""
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {plain(entry)}" for name, entry in value.items() if entry is not None) + ")"
    if isinstance(value, (list, tuple)):
        return " ".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(number: int, noun: str) -> str:
    """1 frame, 2 frames."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def evaluation_table(evaluation: Evaluation) -> str:
    """Errors per config_type and of all frames; kinds without labels are absent."""
    kinds = [kind for kind in KINDS if evaluation.comparison(kind) is not None]
    groups = _shown(evaluation)
    rows = [["config_type", "frames", "atoms", *(name for _ in kinds for name in ("MAE", "RMSE"))]]
    rows += [_row(group, part, kinds) for group, part in groups.items()]
    rows.append(_row("total", evaluation, kinds))
    # two columns are at least as wide as their common heading, and a gap sets the kinds apart
    for k, kind in enumerate(kinds):
        half = -(-(len(HEADINGS[kind][0]) - 2) // 2)
        for row in rows:
            row[3 + 2 * k] = "  " + row[3 + 2 * k].rjust(half)
            row[4 + 2 * k] = row[4 + 2 * k].rjust(half)
    lines = columns(rows)
    header, rule = _heading(lines[0], kinds), "-" * max(map(len, lines))
    left_out = len(evaluation.by_group) - len(groups)
    more = f"\n{left_out} more config_types have smaller errors of {_deciding(evaluation)}" if left_out else ""
    more += "; gapkit evaluate --json lists all" if left_out else ""
    return "\n".join([header, lines[0], rule, *lines[1:-1], rule, lines[-1]]) + more


def _shown(evaluation: Evaluation) -> Mapping[str, Evaluation]:
    """All config_types or, of very many, those with the largest errors of forces (without any: energies, stresses)."""
    groups = evaluation.by_group
    if len(groups) <= MOST_GROUPS:
        return groups
    kind = _deciding(evaluation)
    size = {name: found.rmse if (found := part.comparison(kind)) else 0.0 for name, part in groups.items()}
    largest = set(sorted(size, key=lambda name: -size[name])[:SHOWN_GROUPS])
    return {name: part for name, part in groups.items() if name in largest}


def _deciding(evaluation: Evaluation) -> Kind:
    order: tuple[Kind, ...] = ("forces", "energy", "stress")
    return next((kind for kind in order if evaluation.comparison(kind) is not None), "energy")


def _heading(names: str, kinds: Sequence[Kind]) -> str:
    """The line above the column names: each kind flush right over its two columns."""
    line, end = "", 0
    for kind in kinds:
        end = names.index("RMSE", end) + len("RMSE")
        line = line.ljust(end - len(HEADINGS[kind][0])) + HEADINGS[kind][0]
    return line


def _row(name: str, part: Evaluation, kinds: Sequence[Kind]) -> list[str]:
    cells = [name, str(part.frames), str(part.atoms)]
    errors = part.as_dict()
    for kind in kinds:
        values = errors.get(kind, {}).values()
        cells += [f"{value:.{HEADINGS[kind][1]}f}" for value in values] or ["-", "-"]
    return cells
