"""Energies of whole config_types, and single ones, against the forces of all structures, in a small potential.

Forces say how the energy changes from structure to structure, whatever its zero: a potential that hardly sees energies
tells whether those of a config_type were computed with another pseudopotential, basis or set of k-points than the rest,
and which single ones are of another structure, or of electrons in another state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from gapkit import Frame, Noise
from gapkit.datasets.finding import Finding
from gapkit.datasets.potential import LEAST, MIXED, SmallPotential, is_apart, small_potential, some_of_each
from gapkit.datasets.robust import typical
from gapkit.datasets.summary import largest_force
from gapkit.datasets.table import Table

_NOISE: Final = Noise(energy=0.6, forces=0.05, stress=None)
_FORCE: Final = 0.005  # eV/Å; below it lie perfect crystals
_STEP: Final = 0.04  # eV/atom that is worth a word
_CERTAIN: Final = 6.0  # σ of a mean energy; up to 4.6 occurs in sound sets …
_MIXED_CERTAIN: Final = 10.0  # … and 8.5 where elements share densities, as in Nb-Mo-Ta-W
_ALIKE: Final = 2.5  # spreads of the differences within the config_type
_MIXTURE: Final = 0.1  # difference of the shares of an element within which config_types are compared
_MOST_SEEN: Final = 50_000  # atoms of which single energies are looked at
_ENOUGH: Final = 8  # structures of one composition
_GROSS: Final = 0.2  # eV/atom of a single energy that is worth a word …
_SURE: Final = 20.0  # … and times its σ; pressed crystals reach 24 …
_GROSS_SHARE: Final = 0.4  # … its share of the distance from usual energies …
_BEYOND: Final = 8.0  # … and times the typical difference
_SHARE: Final = 0.15  # of the energies' distance from those of the rest, which no small potential bridges exactly


class Seen(NamedTuple):
    """What a small potential says of a config_type, all in eV/atom.

    Attributes
    ----------
    group
        Its name.
    off, spread
        Mean of the differences of its energies from the predicted ones, and their spread.
    std
        σ of a predicted energy.
    bound
        Mean energy against e0 of the elements.
    shares
        Mean shares of the elements among its atoms.
    pushed
        Whether there are forces that lead to other structures, as there are none in perfect crystals.
    """

    group: str
    off: float
    spread: float
    std: float
    bound: float
    shares: tuple[float, ...]
    pushed: bool = True


class Step(NamedTuple):
    """What the energies of a config_type differ from the rest by, eV/atom, and its spread within the config_type."""

    group: str
    height: float
    spread: float


def energies_against_forces(table: Table) -> Iterator[Finding]:
    """The config_type whose energies contradict the forces of all by the same amount in every structure, and single
    energies that contradict them grossly."""
    groups = _groups(table)
    chosen = some_of_each(table, groups)
    if len(groups) < 2 or chosen is None:
        return
    potential = small_potential(table, chosen, _NOISE)
    if potential is None:
        return
    off, elements = _offsets(table, potential), potential.elements
    step = largest_step([_seen(table, name, which, off, elements) for name, which in chosen.items()])
    if step is not None:
        what = (
            f"Energies of {step.group} lie about {1e3 * step.height:+.0f} ± {1e3 * step.spread:.0f} meV/atom off those "
        )
        what += "of other groups, judged by the forces of all"
        fix = "compare pseudopotentials, basis, k-points, smearing and functional; compute them again, or leave "
        yield table.finding("two-methods", "warning", groups[step.group], what, fix + "energies out")
    odd = _odd(table, off, elements, set(groups[step.group]) if step else set())
    if odd:
        worst = max(odd, key=lambda s: abs(odd[s]))
        what = f"Energies lie up to {abs(odd[worst]):.2g} eV/atom off those of like composition, judged by the forces "
        what += f"of all ({table.members[worst].place}: {odd[worst]:+.2g})"
        fix = "compute them again (electronic steps, k-points, spin state; energy of another frame?) or leave them out"
        yield table.finding("energy-outlier", "warning", odd, what, fix)


def _usable(table: Table) -> set[int]:
    """Bound structures with energies and forces."""
    return {
        s
        for s, frame in enumerate(table.frames)
        if s not in table.suspect and frame.energy is not None and frame.forces_ec is not None and not is_apart(frame)
    }


def _groups(table: Table) -> dict[str, list[int]]:
    """Those of every config_type that has some."""
    fit = _usable(table)
    return {name: own for name, which in table.groups.items() if len(own := [s for s in which if s in fit]) >= LEAST}


class _Off(NamedTuple):
    """Energy of a structure against the predicted one, σ of that, and its energy against e0, eV/atom."""

    off: float
    std: float
    bound: float


def _offsets(table: Table, potential: SmallPotential) -> dict[int, _Off]:
    """All structures, or the chosen ones of very many, in the potential."""
    elements, model = set(potential.elements), potential.model
    each = [s for s in sorted(_usable(table)) if set(table.frames[s].numbers_e.tolist()) <= elements]
    if table.n_atoms_s[each].sum() > _MOST_SEEN:
        each = [s for which in potential.chosen.values() for s in which]
    off = {}
    for s, p in zip(each, model.predict([table.frames[s] for s in each], want={"energy", "energy_std"}), strict=True):
        n, own = float(table.n_atoms_s[s]), float(table.energy_s[s])
        e0 = float(np.mean([model.e0_[int(z)] for z in table.frames[s].numbers_e]))
        off[s] = _Off(own - p.energy / n, float(p.energy_epistemic_std or 0.0) / n, own - e0)
    return off


def _seen(table: Table, name: str, which: list[int], off: dict[int, _Off], elements: list[int]) -> Seen:
    """What a config_type has in common."""
    off_s, std, bound = (np.array(x) for x in zip(*(off[s] for s in which), strict=True))
    shares = tuple(np.mean([_mixture(table.frames[s], elements) for s in which], axis=0).tolist())
    pushed = float(np.median([largest_force(table.frames[s]) or 0.0 for s in which])) > _FORCE
    return Seen(name, float(off_s.mean()), float(off_s.std()), float(std.mean()), float(bound.mean()), shares, pushed)


def _mixture(frame: Frame, elements: list[int]) -> list[float]:
    return [float(np.mean(frame.numbers_e == z)) for z in elements]


def _odd(table: Table, off: dict[int, _Off], elements: list[int], known: set[int]) -> dict[int, float]:
    """Energies far off those of about the same composition, eV/atom."""
    which = np.array([s for s in off if s not in known])
    mixture_sz = np.array([_mixture(table.frames[s], elements) for s in which])
    off_s, std_s, bound_s = np.array([off[int(s)] for s in which]).T
    found: dict[int, float] = {}
    for k, s in enumerate(which):
        like = np.abs(mixture_sz - mixture_sz[k]).max(axis=1) < _MIXTURE
        if like.sum() < _ENOUGH:
            continue
        step = float(off_s[k] - np.median(off_s[like]))
        distance = abs(float(bound_s[k] - np.median(bound_s[like])))
        spread = typical(off_s[like] - np.median(off_s[like]))
        if abs(step) > max(_GROSS, _SURE * std_s[k], _GROSS_SHARE * distance, _BEYOND * spread):
            others = [int(o) for o in which[like] if o != s]
            found |= {} if table.strained([int(s)], others) else {int(s): step}
    return found


def largest_step(seen: Sequence[Seen]) -> Step | None:
    """The largest step that is certain, large against what varies within its config_type, and no part of an energy far
    from all others, which a small potential does not reach exactly. Others are those of about the same composition:
    forces do not tell e0 of the elements."""
    certain = _MIXED_CERTAIN if seen and len(seen[0].shares) > MIXED else _CERTAIN
    for own in sorted((one for one in seen if one.pushed), key=lambda one: -abs(one.off)):
        rest = [one for one in seen if one is not own and np.allclose(one.shares, own.shares, rtol=0.0, atol=_MIXTURE)]
        if not rest:
            continue
        usual, near = (float(np.median(x)) for x in zip(*((o.off, o.bound) for o in rest), strict=True))
        height = own.off - usual
        if abs(height) > max(_STEP, certain * own.std, _ALIKE * own.spread, _SHARE * abs(own.bound - near)):
            return Step(own.group, height, own.spread)
    return None
