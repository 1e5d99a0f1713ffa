"""Stresses against the energy of strained structures: sign, unit, virials, order of shear components, offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Final

import numpy as np

from gapkit.datasets.factors import WRONG_SIGN, mixed_factors
from gapkit.datasets.finding import Finding
from gapkit.datasets.pairs import UNSTRAINED, Pairs
from gapkit.datasets.robust import slope, typical
from gapkit.datasets.sizes import by_size
from gapkit.datasets.table import Table
from gapkit.datasets.units import STRESSES, named
from gapkit.datasets.verdicts import Verdict, merged, with_unclear
from gapkit.typing import FloatArray, IntArray
from gapkit.units import GPA

_LEAST: Final = 6  # pairs from which something is concluded
_CALM: Final = 0.3  # share of ΔE that displacements may cost beside the strain
_OFF: Final = 0.12  # of the slope of ΔE against the work of the stress
_FITS: Final = 0.35  # share of the residual that another reading must leave
_SHEAR_FITS: Final = 0.3
_TIGHT: Final = 0.1  # the same of a factor that is no known unit
_OFFSET: Final = 1.0  # GPa
_PULAY: Final = 20.0  # GPa, more than any basis set is off
_B_PRIME: Final = 4.5  # pressure derivative of the bulk modulus, 3.5 to 5.5 in most solids
_GAMMA: Final = 2.0  # Grüneisen parameter, 1 to 3
_ORDER: Final = ("xx", "yy", "zz", "yz", "xz", "xy")


@dataclass(frozen=True, eq=False)
class _Strained:
    """Pairs with both stresses: ΔE less the work of the forces, the harmonic energy of the displacement, and of both
    structures index, stress and volume, with the strain between them."""

    ends_2p: IntArray
    rest_p: FloatArray
    harmonic_p: FloatArray
    stress_2pv: FloatArray
    volume_2p: FloatArray
    strain_pv: FloatArray

    def work(self, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5), virial: bool = False) -> FloatArray:
        """½ Σ V σ : ε with the components in another order, or with the label taken for the virial of the cell."""
        work: FloatArray = self.halves(order, virial).sum(axis=0)
        return work

    def halves(self, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5), virial: bool = False) -> FloatArray:
        """The terms of both structures, shape (2, P)."""
        volume = np.ones_like(self.volume_2p) if virial else self.volume_2p
        halves: FloatArray = 0.5 * volume * (self.stress_2pv[:, :, order] * self.strain_pv).sum(axis=2)
        return halves

    def __len__(self) -> int:
        return len(self.rest_p)


def stresses(table: Table) -> Iterator[Finding]:
    """Every group by its own strained pairs or, without them, by its energies at several volumes; else by size."""
    with_stress = np.array([f.stress_v is not None and s not in table.suspect for s, f in enumerate(table.frames)])
    if not with_stress.any():
        return
    pairs = table.pairs
    pairs = pairs.keep((pairs.stretch_p >= UNSTRAINED) & with_stress[pairs.i_p] & with_stress[pairs.j_p])
    unclear: dict[str, list[int]] = {}
    verdicts: list[Verdict] = []
    right = 0
    for group, members in table.groups.items():
        which = [s for s in members if with_stress[s]]
        own = _strained(table, pairs.keep(np.isin(pairs.i_p, members)))
        if len(own) < _LEAST:
            own = _by_volume(table, which)
        found = list(_judge(group, which, own)) if len(own) >= _LEAST else [None]
        verdicts += [verdict for verdict in found if verdict is not None]
        right += not found
        if which and found == [None]:
            unclear[group] = which
    verdicts, unclear = with_unclear(verdicts, unclear, right)
    yield from merged(table, verdicts)
    yield from by_size(table, unclear)


def _strained(table: Table, pairs: Pairs) -> _Strained:
    stress_sv = np.array([np.zeros(6) if f.stress_v is None else f.stress_v for f in table.frames])
    volume_s = np.array([frame.volume for frame in table.frames])
    ends: IntArray = np.stack([pairs.i_p, pairs.j_p])
    rest_p = pairs.energy_p - pairs.work_p
    calm = pairs.harmonic_p < _CALM * np.abs(rest_p)
    rest_p, ends = rest_p[calm], ends[:, calm]
    return _Strained(ends, rest_p, pairs.harmonic_p[calm], stress_sv[ends], volume_s[ends], pairs.strain_pv[calm])


def _by_volume(table: Table, which: list[int]) -> _Strained:
    """Neighbours in volume of each composition, per atom, as if strained evenly; energies of one size only."""
    parts: list[tuple[float, FloatArray, FloatArray, float]] = []
    ends: list[tuple[int, int]] = []
    wanted = {s for s in which if table.frames[s].energy is not None}
    for _, members in table.by(lambda member: (member.formula, member.frame.n_atoms)).items():
        own = sorted(wanted.intersection(members), key=lambda s: table.frames[s].volume)
        for i, j in pairwise(own):
            one, two = table.frames[i], table.frames[j]
            stretch = np.log(two.volume / one.volume) / 3.0
            if 1e-3 < stretch < 0.03 and one.stress_v is not None and two.stress_v is not None:
                difference = float(two.energy or 0.0) - float(one.energy or 0.0)
                stress = np.stack([one.stress_v, two.stress_v])
                ends.append((i, j))
                parts.append((difference, stress, np.array([one.volume, two.volume]), stretch))
    if not parts:
        nothing = np.zeros(0)
        return _Strained(
            np.zeros((2, 0), dtype=np.int64), nothing, nothing, np.zeros((2, 0, 6)), np.zeros((2, 0)), np.zeros((0, 6))
        )
    strain_pv = np.array([[part[3]] * 3 + [0.0] * 3 for part in parts])
    rest = np.array([part[0] for part in parts])
    stress_2pv, volume_2p = (np.stack([part[k] for part in parts], axis=1) for k in (1, 2))
    return _Strained(np.array(ends).T, rest, np.zeros_like(rest), stress_2pv, volume_2p, strain_pv)


def _judge(group: str, which: list[int], own: _Strained) -> Iterator[Verdict | None]:
    """Verdicts about a group; None if the pairs decide nothing, nothing at all if its stresses are right."""
    size, work = typical(own.rest_p), own.work()
    k = slope(work, own.rest_p)
    as_is, scaled = typical(own.rest_p - work), typical(own.rest_p - k * work)
    if abs(k - 1.0) > _OFF and scaled < _FITS * min(as_is, size):
        found = _scaled(group, which, k, own, scaled)
        if found is not None:
            yield found
            return
    some = _some(group, own) or _disordered(group, which, own)
    if some is not None:
        yield some
        return
    offset = _offset(group, which, own)
    if offset is not None:
        yield offset
    elif as_is > _FITS * size:
        yield None


def _scaled(group: str, which: list[int], k: float, own: _Strained, scaled: float) -> Verdict | None:
    """Another sign, a virial, another unit; None for a factor that is none of them, if it does not fit well."""
    numbers = f"in {len(own)} strained pairs of {group} ΔE is {k:.3g} times the work of the stress"
    unit = named(abs(1.0 / k), STRESSES) if k else None
    if (negative := _is_virial(own, scaled, unit)) is not None:
        volume = float(np.median(own.volume_2p))
        cause, fix = (
            "This stress is the virial of the cell, with the sign of ASE",
            "divide it by the volume of the cell",
        )
        if negative:
            cause, fix = "This stress is the virial of the cell", "store it as 'virial' (-V · stress, eV)"
        numbers += f" (V about {volume:.0f} Å³)"
        return Verdict("stress-is-virial", "error", group, which, cause, numbers, fix, len(own), True)
    if abs(k + 1.0) < _OFF:
        cause, fix = "Stress has the wrong sign, it is a pressure", "multiply it by -1: tension is positive"
        return Verdict("stress-sign", "error", group, which, cause, numbers, fix, len(own), True)
    sign = " and the sign of a pressure" if k < 0.0 else ""
    if unit is None and scaled > _TIGHT * typical(own.rest_p):
        return None  # an offset, or strains too large for the rule, make a slope too
    cause, fix = f"Stress has another unit{sign}", f"check unit and sign: {k:.4g} times it would agree, in eV/Å³"
    if unit:
        cause, fix = f"Stress looks like {unit}{sign}", f"multiply it by {np.sign(k) / STRESSES[unit]:.6g}"
    return Verdict("stress-unit", "error", group, which, cause, numbers, fix, len(own), unit is not None)


def _is_virial(own: _Strained, scaled: float, unit: str | None) -> bool | None:
    """Whether the virial has the opposite sign of a stress times V; None if it is no virial."""
    virial = own.work(virial=True)
    k = slope(virial, own.rest_p)
    left = typical(own.rest_p - k * virial)
    fits = left < 1.3 * scaled or (unit is None and left < _TIGHT * typical(own.rest_p))
    return k < 0.0 if abs(abs(k) - 1.0) < _OFF and fits else None


def _some(group: str, own: _Strained) -> Verdict | None:
    """Another sign or unit in some frames."""
    mixed = mixed_factors(own.ends_2p, own.rest_p, own.halves(), STRESSES)
    if mixed is None:
        return None
    sign = mixed.name == WRONG_SIGN
    cause = "Stress has the wrong sign, it is a pressure," if sign else f"Stress looks like {mixed.name}"
    cause += " in these frames, and not in others of their config_type"
    numbers = f"so read, ΔE of strained pairs of {group} is missed by {mixed.after:.2g} eV instead of "
    numbers += f"{mixed.before:.2g} eV; frames without similar ones are not judged"
    fix = f"multiply it by {mixed.factor:.6g}, and look how other frames were converted"
    return Verdict("stress-sign" if sign else "stress-unit", "error", group, mixed.which, cause, numbers, fix, len(own))


def _disordered(group: str, which: list[int], own: _Strained) -> Verdict | None:
    """Shear components that are out of order."""
    wrong = _shear_order(own)
    if wrong is None:
        return None
    order, before, after = wrong
    names = " ".join(_ORDER[c] for c in order)
    cause = f"Shear components are out of order, the label reads {names}"
    numbers = f"so ΔE of strained pairs of {group} is missed by {after:.3g} eV, as it is by {before:.3g} eV (median "
    numbers += "where shear matters)"
    fix = "store the tensor, or the order xx yy zz yz xz xy; VASP writes xx yy zz xy yz zx"
    return Verdict("stress-order", "error", group, which, cause, numbers, fix, len(own))


def _shear_order(own: _Strained) -> tuple[tuple[int, ...], float, float] | None:
    """The order in which the label reads right, and residuals before and after, where shear makes a difference."""
    as_is, best = own.work(), None
    for shear in permutations((3, 4, 5)):
        order = (0, 1, 2, *shear)
        other = own.work(order)
        change = np.abs(other - as_is)
        matters = change > max(0.05 * typical(own.rest_p), 0.5 * float(change.max(initial=0.0)))
        if shear == (3, 4, 5) or matters.sum() < 3:
            continue
        before, after = (typical((own.rest_p - work)[matters]) for work in (as_is, other))
        everywhere = typical(own.rest_p - other), typical(own.rest_p - as_is)
        if after < _SHEAR_FITS * before and everywhere[0] <= everywhere[1]:
            # order[v] is the column that holds component v; said the other way round: what each column holds
            columns = tuple(int(c) for c in np.argsort(order))
            if best is None or everywhere[0] < best[0]:
                best = everywhere[0], columns, before, after
    return None if best is None else best[1:]


def _offset(group: str, which: list[int], own: _Strained) -> Verdict | None:
    """A constant pressure between the stress and the derivative of the energy.

    What the trapezoidal rule leaves is taken off: ΔV² P''/12 with P'' = B (B' + 1)/V², and of displacements that grow
    softer with the volume γ/V times their harmonic energy. B is that of the pair, B' and γ those of most solids.
    """
    change_p, mean_p = own.volume_2p[1] - own.volume_2p[0], own.volume_2p.mean(axis=0)
    large = np.abs(change_p) > 0.006 * mean_p
    if large.sum() < _LEAST:
        return None
    relative = (change_p / mean_p)[large]
    bulk = (np.diff(own.stress_2pv[:, large, :3].mean(axis=2), axis=0)[0]) / relative
    rule = np.abs(bulk) * (_B_PRIME + 1.0) * relative**2 / 12.0 + _GAMMA * own.harmonic_p[large] / mean_p[large]
    pressure_p = (own.rest_p - own.work())[large] / change_p[large] - rule
    offset = float(np.median(pressure_p))
    spread = 1.4826 * typical(pressure_p - offset)
    unsure = 0.4 * float(np.median(rule)) + 2.5 * spread / np.sqrt(large.sum())
    if abs(offset) < max(_OFFSET * GPA, 2.0 * unsure, spread):
        return None
    what = f"Stress is off the slope of the energy by {-10.0 * offset / GPA:+.0f} ± {10.0 * unsure / GPA:.0f} kbar in "
    what += f"{large.sum()} pairs of {group} that differ in volume"
    if abs(offset) > _PULAY * GPA:
        fix = "check that energies, forces and stresses belong to the same frames; one of the three is wrong"
        return Verdict("stress-against-energy", "warning", group, which, what, "", fix, doubtful=True)
    fix = "an incomplete basis set does that (Pulay stress): raise its cutoff, or leave these stresses out"
    return Verdict("stress-offset", "warning", group, which, what, "", fix)
