"""What a fit knows before it begins, in words: baselines, and energies of isolated atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from gapkit import Cohesion
from gapkit.baselines.isolated import not_isolated
from gapkit.cli.config import BASELINES, Config, of_file
from gapkit.cli.report import plain
from gapkit.errors import warn
from gapkit.model.choice import Choice
from gapkit.model.known import completed
from gapkit.model.prepared import Prepared, default_baselines

_NOT_ISOLATED = "no e0 is that of an isolated atom"


def baselines_of(config: Config) -> list[Any]:
    """The baselines that the file asks for, or the default ones."""
    if config.baselines is None:
        return list(default_baselines(config.terms is None))
    made = []
    for table in config.baselines:
        with of_file(config.path):
            made.append(BASELINES[table["type"]](**{name: value for name, value in table.items() if name != "type"}))
    return made


def in_use(data: Prepared) -> list[Any]:
    """The baselines that prepared the data, as they were given, without a cohesion that has no energy."""
    there = any(isinstance(b, Cohesion) for b in completed(data.complete, data.found))
    return [b for b in data.baselines if there or not isinstance(b, Cohesion)]


def told_baselines(config: Config, data: Prepared) -> list[Choice]:
    """The baselines that the model will have; warns of one from the file that does nothing."""
    ready = completed(data.complete, data.found)
    if config.baselines is None:
        return [_default(config, data, ready)]
    if len(ready) < len(data.baselines):
        _warn_of_cohesion(config, data)
    energies = [b for b in ready if isinstance(b, Cohesion)]
    shown = [next(iter(energies), None) if isinstance(b, Cohesion) else b for b in data.baselines]
    kinds = [b.kind for b in data.baselines]
    texts = [f"{kind}: {describe(b) if b else 'of no element'}" for kind, b in zip(kinds, shown, strict=True)]
    return [Choice("baseline", text, config.path) for text in texts] or [Choice("baselines", "none", config.path)]


def _default(config: Config, data: Prepared, ready: Sequence[Any]) -> Choice:
    why = "repulsion below the shortest distances of the data"
    cohesion = next((b for b in ready if isinstance(b, Cohesion)), None)
    if cohesion is not None:
        symbols = ", ".join(symbol for symbol, energy in (cohesion.energies or {}).items() if energy)
        why += f"; cohesion of {symbols}, whose e0 is that of an isolated atom"
        return Choice("baselines", "zbl + cohesion", why)
    return Choice("baselines", "zbl", why if config.terms is not None else f"{why}; no cohesion: {_no_cohesion(data)}")


def _no_cohesion(data: Prepared) -> str:
    isolated = _elements(data) - not_isolated(data.frames, data.e0)
    return "no energy tells that of an element" if isolated else _NOT_ISOLATED


def _warn_of_cohesion(config: Config, data: Prepared) -> None:
    what = f"[[baselines]] of {config.path}: cohesion does nothing, since {_no_cohesion(data)}."
    fix = "give [e0], frames with isolated atoms, or energies = {Si = -4.6} below it, or leave it out"
    if not any(b.kind == "zbl" for b in data.baselines):
        fix += '; add [[baselines]] with type = "zbl", which is the default and not there now'
    warn(f"{what} Fix: {fix}.")


def told_e0(config: Config, data: Prepared) -> list[Choice]:
    """Energies of isolated atoms by where they are from; warns of those of elements that are not there."""
    given = {atomic_numbers[symbol] for symbol in config.e0}
    if absent := sorted(given - _elements(data)):
        symbols = ", ".join(chemical_symbols[z] for z in absent)
        warn(f"e0 of {symbols}: not in the data, kept for gapkit extend. Fix: check the symbol in [e0].")
    guessed = not_isolated(data.frames, data.e0)
    with_energy = {int(z) for f in data.frames if f.energy is not None for z in f.numbers_e}
    by_reason: dict[str, list[str]] = {}
    for number in sorted(_elements(data)):
        why = config.path if number in given else "least squares" if number in guessed else "single-atom frames"
        if why == "least squares" and number not in with_energy:
            why = "0, since no energy tells it"
        if why == "least squares" and data.found_b:
            continue  # they see what a baseline leaves of the energies, and its scale is open
        by_reason.setdefault(why, []).append(f"{chemical_symbols[number]} {data.found.e0[number]:.6g}")
    return [Choice("e0", ", ".join(values) + " eV", why) for why, values in by_reason.items()]


def _elements(data: Prepared) -> set[int]:
    return {int(z) for f in data.frames for z in f.numbers_e}


def describe(part: Any) -> str:
    """Settings of a term or baseline in one line; those that are None are left out."""
    settings = part.get_params(deep=False)
    settings = {**(settings.pop("soap", None) or {}), **settings}
    return ", ".join(f"{name} {plain(value)}" for name, value in settings.items() if value is not None)
