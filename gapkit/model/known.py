"""What a model knows before it sees data: energies of isolated atoms, and baselines."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.baselines.base import Baseline, Contribution
from gapkit.baselines.isolated import is_isolated, isolated_energies, not_isolated
from gapkit.typing import FloatArray, IntArray, Kind


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one structure without its labels.

    Attributes
    ----------
    fixed
        Energies of isolated atoms and the baselines of known scale.
    open_b
        What each baseline of open scale gives at scale 1.
    """

    fixed: Contribution
    open_b: tuple[Contribution, ...] = ()


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


def known_of(
    frames: Sequence[Frame], baselines: Sequence[Baseline], given: Mapping[str | int, float] | None
) -> tuple[dict[int, float], list[dict[int, float]], list[Known]]:
    """e0 by atomic number, what one unit of each baseline of open scale takes from it, and what is known of each frame.

    Elements without an isolated atom get their e0 by least squares from what the baselines leave of the energies, so
    that it depends on the scale of a baseline, linearly.
    """
    bare = _baselines_of(frames, baselines)
    e0 = isolated_energies([_with_energy(f, -1.0, k.fixed) for f, k in zip(frames, bare, strict=True)], given)
    fitted = not_isolated(frames, given)
    e0_b = [_least_squares(frames, [k.open_b[b] for k in bare], e0, fitted) for b in range(len(bare[0].open_b))]
    known = []
    for frame, own in zip(frames, bare, strict=True):
        open_b = [
            part.plus(Contribution(atom_energies(frame.numbers_e, taken)), -1.0)
            for part, taken in zip(own.open_b, e0_b, strict=True)
        ]
        known.append(Known(own.fixed.plus(Contribution(atom_energies(frame.numbers_e, e0))), tuple(open_b)))
    return e0, e0_b, known


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
