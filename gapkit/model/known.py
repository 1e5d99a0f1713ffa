"""What a model knows before it sees data: energies of isolated atoms, cohesive energies, and baselines."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.baselines.base import Baseline, Contribution
from gapkit.baselines.cohesion import Cohesion
from gapkit.baselines.isolated import is_isolated, isolated_energies, not_isolated
from gapkit.errors import ConfigError
from gapkit.typing import FloatArray, IntArray, Kind


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one structure without its labels.

    Attributes
    ----------
    fixed
        Energies of isolated atoms, cohesion, and the baselines of known scale.
    open_b
        What each baseline of open scale gives at scale 1.
    """

    fixed: Contribution
    open_b: tuple[Contribution, ...] = ()


@dataclass(frozen=True)
class OfElements:
    """Energies that the composition decides, by atomic number, eV.

    Attributes
    ----------
    e0
        Energy of the isolated atom.
    cohesion
        Energies of elements that `Cohesion` leaves open; empty without one.
    """

    e0: dict[int, float]
    cohesion: dict[int, float]

    def minus(self, other: OfElements, scale: float) -> OfElements:
        """The same without `scale` times another one of the same elements."""
        e0 = {z: e - scale * other.e0[z] for z, e in self.e0.items()}
        return OfElements(e0, {z: c - scale * other.cohesion[z] for z, c in self.cohesion.items()})

    def of(self, frame: Frame) -> Contribution:
        """What they give for one structure, with the derivatives of its labels."""
        whole = Contribution.zero(frame.n_atoms, frame.kinds)
        if any(self.cohesion.values()) and not is_isolated(frame):
            whole = Cohesion({}).completed(self.cohesion).evaluate(frame, frame.kinds)
        return whole.plus(Contribution(atom_energies(frame.numbers_e, self.e0)))


@dataclass(frozen=True, eq=False)
class OpenScale:
    """A baseline whose scale the data decide.

    Attributes
    ----------
    baseline
        The baseline.
    factor
        Of its energy at scale 1, so far.
    taken
        What one unit of it takes from the energies of elements.
    """

    baseline: Baseline
    factor: float
    taken: OfElements


def completed(baselines: Sequence[Baseline], found: OfElements) -> list[Baseline]:
    """The baselines with the cohesive energies that were found; one that has none of any element is left out."""
    complete = [b.completed(found.cohesion) if isinstance(b, Cohesion) else b for b in baselines]
    return [b for b in complete if not isinstance(b, Cohesion) or any((b.energies or {}).values())]


def reopened(baselines: Sequence[Baseline], e0: Mapping[int, float]) -> tuple[list[Baseline], OfElements]:
    """Complete baselines without the energies of elements, and these: what `completed` makes them of."""
    cohesions = [b.energies or {} for b in baselines if isinstance(b, Cohesion)]
    cohesion = {atomic_numbers[symbol]: c for energies in cohesions for symbol, c in energies.items()}
    return [Cohesion({}) if isinstance(b, Cohesion) else b for b in baselines], OfElements(dict(e0), cohesion)


def is_open(baseline: Baseline) -> bool:
    """Whether the scale of a baseline is to be found together with the rest of the model."""
    return getattr(baseline, "scale", None) == "fit"


def with_scale(baseline: Any, factor: float) -> Baseline:
    """A baseline of open scale, with the factor of its energy at scale 1."""
    return baseline.scaled(factor)


def named(baselines: Sequence[Baseline]) -> list[tuple[str, Baseline]]:
    """Baselines with their names in `Prediction.by_term`: the kind, and a number where several are of one kind."""
    count, seen, names = Counter(b.kind for b in baselines), Counter[str](), []
    for baseline in baselines:
        names.append(baseline.kind + (str(seen[baseline.kind]) if count[baseline.kind] > 1 else ""))
        seen[baseline.kind] += 1
    return list(zip(names, baselines, strict=True))


def atom_energies(numbers_e: IntArray, e0: Mapping[int, float]) -> FloatArray:
    """e0 of each atom, shape (N,), eV; all elements must be in `e0`."""
    table = np.zeros(max(e0) + 1)
    table[list(e0)] = list(e0.values())
    return table[numbers_e]


def parts(
    baselines: Sequence[Baseline],
    frame: Frame,
    kinds: Collection[Kind],
    pairs: Pairs | None = None,
    r_cut: float = 0.0,
) -> dict[str, Contribution]:
    """What each baseline gives, by name; `pairs` are all pairs of the structure closer than `r_cut`, if at hand."""
    return {name: b.evaluate(frame, kinds, pairs if b.reach <= r_cut else None) for name, b in named(baselines)}


def total(
    baselines: Sequence[Baseline],
    e0: Mapping[int, float],
    frame: Frame,
    kinds: Collection[Kind],
    pairs: Pairs | None = None,
    r_cut: float = 0.0,
) -> Contribution:
    """Energies of isolated atoms and all baselines of one structure; `pairs` and `r_cut` as for `parts`."""
    start = Contribution.zero(frame.n_atoms, kinds).plus(Contribution(atom_energies(frame.numbers_e, e0)))
    return reduce(Contribution.plus, parts(baselines, frame, kinds, pairs, r_cut).values(), start)


def known_by(baselines: Sequence[Baseline], e0: Mapping[int, float], frames: Sequence[Frame]) -> list[Known]:
    """What a complete model knows of the labels of some frames."""
    bar = tqdm(frames, desc="baselines", unit="frame", disable=None if baselines else True)
    return [Known(total(baselines, e0, frame, frame.kinds)) for frame in bar]


def known_of(
    frames: Sequence[Frame], baselines: Sequence[Baseline], given: Mapping[str | int, float] | None
) -> tuple[OfElements, list[OfElements], list[Known]]:
    """Energies of elements, what one unit of each baseline of open scale takes from them, and what is known of frames.

    Elements without an isolated atom get their e0 by least squares from what the baselines leave of the energies, so
    that it depends on the scale of a baseline, linearly. The open energies of `Cohesion` of all other elements are
    then found in the same way.

    Raises
    ------
    ConfigError
        Several `Cohesion`.
    """
    cohesions = [b for b in baselines if isinstance(b, Cohesion)]
    if len(cohesions) > 1:
        raise ConfigError("Cohesion stands twice among the baselines", fix="give it once")
    nothing = dict.fromkeys(sorted({int(z) for f in frames for z in np.unique(f.numbers_e)}) if cohesions else (), 0.0)
    bare = _baselines_of(frames, [b.completed(nothing) if isinstance(b, Cohesion) else b for b in baselines])
    e0 = isolated_energies([_with_energy(f, -1.0, k.fixed) for f, k in zip(frames, bare, strict=True)], given)
    fitted = not_isolated(frames, given)
    e0_b = [_least_squares(frames, [k.open_b[b] for k in bare], e0, fitted) for b in range(len(bare[0].open_b))]
    named = {z for z in nothing for c in cohesions if chemical_symbols[z] in (c.energies or {})}
    free = [z for z in nothing if z not in fitted | named]
    cohesion, *cohesion_b = [nothing | own for own in _cohesive(frames, bare, [e0, *e0_b], free)]
    found = OfElements(e0, cohesion)
    found_b = [OfElements(*both) for both in zip(e0_b, cohesion_b, strict=True)]
    known = []
    for frame, own in zip(frames, bare, strict=True):
        open_b = [part.plus(taken.of(frame), -1.0) for part, taken in zip(own.open_b, found_b, strict=True)]
        known.append(Known(own.fixed.plus(found.of(frame)), tuple(open_b)))
    return found, found_b, known


def _cohesive(
    frames: Sequence[Frame], bare: Sequence[Known], e0_k: Sequence[Mapping[int, float]], free: Sequence[int]
) -> list[dict[int, float]]:
    """Cohesive energies of elements in the labels without known physics, and in each baseline of open scale.

    Least squares against the number of atoms with bonds, frames with weight 1/√N as for e0. Atoms are counted whole:
    the small differences of 1 - exp(-κ Σ f) between bound atoms would tell elements apart that no composition does.
    """
    if not free:
        return [{} for _ in e0_k]
    unit = Cohesion({}).completed(dict.fromkeys({int(z) for f in frames for z in np.unique(f.numbers_e)}, 1.0))
    rows_sz, targets_sk = [np.zeros(len(free))], [np.zeros(len(e0_k))]
    for frame, own in zip(frames, bare, strict=True):
        if frame.energy is None or is_isolated(frame):
            continue
        bound_e = frame.numbers_e[unit.evaluate(frame, ()).energies_e > 0.5]
        energies_k = [frame.energy - own.fixed.energies_e.sum(), *(part.energies_e.sum() for part in own.open_b)]
        taken_k = [atom_energies(frame.numbers_e, e0).sum() for e0 in e0_k]
        rows_sz.append(np.bincount(bound_e, minlength=max(free) + 1)[free] / np.sqrt(frame.n_atoms))
        targets_sk.append(np.subtract(energies_k, taken_k) / np.sqrt(frame.n_atoms))
    values_zk = np.linalg.lstsq(np.array(rows_sz), np.array(targets_sk), rcond=None)[0]
    return [dict(zip(free, map(float, values_z), strict=True)) for values_z in values_zk.T]


def _baselines_of(frames: Sequence[Frame], baselines: Sequence[Baseline]) -> list[Known]:
    """Baselines of all frames, without e0; isolated atoms have none."""
    found = []
    for frame in tqdm(frames, desc="baselines", unit="frame", disable=None if baselines else True):
        zero = Contribution.zero(frame.n_atoms, frame.kinds)
        own = [zero if is_isolated(frame) else b.evaluate(frame, frame.kinds) for b in baselines]
        both = list(zip(baselines, own, strict=True))
        fixed = reduce(Contribution.plus, (part for b, part in both if not is_open(b)), zero)
        found.append(Known(fixed, tuple(part for b, part in both if is_open(b))))
    return found


def _least_squares(
    frames: Sequence[Frame], open_s: Sequence[Contribution], e0: Mapping[int, float], fitted: Collection[int]
) -> dict[int, float]:
    """What a baseline has of composition, for the elements whose e0 is fitted to energies; 0 for the others."""
    bare = [
        _with_energy(replace(f, energy=0.0), 1.0, part)
        for f, part in zip(frames, open_s, strict=True)
        if f.energy is not None and not is_isolated(f)
    ]
    with warnings.catch_warnings():  # the user has heard of least squares
        warnings.simplefilter("ignore")
        return dict.fromkeys(e0, 0.0) | isolated_energies(bare, {z: 0.0 for z in e0 if z not in fitted})


def _with_energy(frame: Frame, sign: float, part: Contribution) -> Frame:
    """The frame with the energy of a baseline added to, or taken from, its own."""
    energy = float(part.energies_e.sum())
    return frame if frame.energy is None or not energy else replace(frame, energy=frame.energy + sign * energy)
