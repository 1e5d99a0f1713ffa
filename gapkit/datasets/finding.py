"""One thing that a rule has to say about some structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from gapkit.errors import ConfigError

Severity: TypeAlias = Literal["error", "warning", "note"]

SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
"""error: a fit would fail or learn something wrong; warning: likely a fault, look at it; note: good to know."""

_SHOWN: Final = 6


class Place(NamedTuple):
    """Where a structure is from.

    Attributes
    ----------
    file
        Name of the file or list.
    position
        Its number there, from 0.
    number
        Its number among all structures that were checked, test structures after the others.
    test
        Whether it is a test structure.
    """

    file: str
    position: int
    number: int
    test: bool

    def __str__(self) -> str:
        return f"{self.file} {self.position}"


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes
    ----------
    rule
        Its name, such as "stress-sign".
    severity
        "error", "warning" or "note".
    what
        What is wrong, with the numbers that show it.
    fix
        What can be done about it. Required, as in all errors of gapkit.
    places
        The structures in question; empty if it concerns a file, or the set as a whole.
    file
        The file, where no structure can be named.
    """

    rule: str
    severity: Severity
    what: str
    fix: str
    places: tuple[Place, ...] = ()
    file: str = ""

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES or not (self.what and self.fix):
            raise ConfigError(f"Finding '{self.rule}' is incomplete", fix="give a severity, what is wrong and its fix")

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the structures, counted from 0 through all that were given, test structures last."""
        return tuple(place.number for place in self.places)

    @property
    def where(self) -> str:
        """The structures by file: "train.xyz, frames 3, 17, 20 … (12 in all)"."""
        files = {place.file: [p.position for p in self.places if p.file == place.file] for place in self.places}
        return "; ".join(f"{file}, {listed(indices)}" for file, indices in files.items()) or self.file

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the structures by file, all of them."""
        files: dict[str, list[int]] = {}
        for place in self.places:
            files.setdefault(place.file, []).append(place.position)
        document: dict[str, Any] = {"rule": self.rule, "severity": self.severity, "what": self.what, "fix": self.fix}
        return document | {"frames": files, "where": self.where}

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.severity}: {self.rule}{place}: {self.what.rstrip('.')}. Fix: {self.fix.rstrip('.')}."


def counted(number: int, noun: str) -> str:
    """1 frame, 2 frames."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def listed(indices: Sequence[int]) -> str:
    """frame 3; frames 3, 17; frames 0-5; frames 3, 17, 20, 22, 24, 31 … (12 in all)."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    words = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    total = sum(map(len, runs))
    noun = "frame" if total == 1 else "frames"
    if len(words) <= _SHOWN:
        return f"{noun} {', '.join(words)}" + (f" ({total} in all)" if total > _SHOWN else "")
    return f"{noun} {', '.join(words[:_SHOWN])} … ({total} in all)"
