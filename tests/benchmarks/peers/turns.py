"""Codes that are timed in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple, TypeAlias

from peers.processes import Child, say
from peers.table import Row, versus


class Times(NamedTuple):
    """Wall and CPU seconds per atom or molecule; equal on one core that nothing else uses."""

    wall: float
    cpu: float


Timed: TypeAlias = Callable[[], tuple[float, float]]


def take_turns(codes: Mapping[str, Timed], rounds: int, unit: str) -> dict[str, Times]:
    """Medians of each code's figures, after one round that is not counted."""
    figures: dict[str, list[Times]] = {name: [] for name in codes}
    for k in range(rounds + 1):
        for name, once in codes.items():
            figures[name].append(Times(*once()))
        last = ", ".join(f"{name} {1e6 * values[-1].wall:.1f}" for name, values in figures.items())
        say(f"round {k}: {last} µs/{unit}")
    return {name: _medians(values[1:]) for name, values in figures.items()}


def calls_of(child: Child, n_atoms: int, n_calls: int = 1, **arguments: object) -> Timed:
    """A function that lets a child do some calls and gives their median times, per atom."""

    def once() -> Times:
        medians = _medians([Times(*child.ask("call", **arguments)) for _ in range(n_calls)])
        return Times(medians.wall / n_atoms, medians.cpu / n_atoms)

    return once


def compared(work: str, own: Times, peer: Times, shown: Callable[[float], str], aim: str) -> list[Row]:
    """Rows of wall and CPU time; the second is the one to believe where the core was shared."""
    return [
        versus(work, own.wall, peer.wall, shown, aim),
        versus(f"{work}: CPU time", own.cpu, peer.cpu, shown),
    ]


def _medians(values: list[Times]) -> Times:
    return Times(median(v.wall for v in values), median(v.cpu for v in values))
