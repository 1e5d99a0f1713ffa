"""Forces: whether they sum to zero, and whether energies change as they say between similar structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from gapkit.datasets.factors import WRONG_SIGN, mixed_factors
from gapkit.datasets.finding import Finding
from gapkit.datasets.pairs import NEAR, UNSTRAINED, Pairs
from gapkit.datasets.robust import slope, typical
from gapkit.datasets.scales import OFF, STIFF, UNNAMED, cause
from gapkit.datasets.summary import largest_force
from gapkit.datasets.table import Table
from gapkit.datasets.units import FORCES, KCAL, KJ
from gapkit.datasets.verdicts import Verdict, merged, named_groups, with_unclear
from gapkit.typing import FloatArray

NET: Final = 0.02
"""Size of the sum of all forces, eV/Å per atom, that numerical noise of a reference method does not reach …"""
NET_SHARE: Final = 0.05
"""… and its share of what forces of that size and random direction would sum to."""
_LEAST: Final = 8  # pairs from which something is concluded
_LEAST_OWN: Final = 3  # the same of one frame
_NEAR: Final = 0.2  # Å, displacement in pairs that may condemn a single frame: methyl groups turn beyond it
_FITS: Final = 0.35  # share of the residual that another factor must leave
_EQUAL: Final = 1.1  # share of the residual of a constant factor, above which 1/N is no reading
_BETTER: Final = 0.5  # the same, below which a constant factor is none
_MOVING: Final = 3.5
"""Atoms that share a displacement, as six that move at random do: a bond such as that of CO, alone, is stiffer than any
solid."""
_ENERGIES: Final = "Energies look like", "Energies and forces look like"  # other rules do without them then
_NO_FORCE: Final = 0.01  # eV/Å; smaller ones of relaxed and of symmetric cells say nothing
_MOVED: Final = 1e-3  # Å, rms; copies say nothing of forces
_UNLIKE: Final = 0.3  # residual over harmonic energy; correct forces of all sets that were looked at have 0.01 to 0.06
_TIMES: Final = 10.0  # the same of one frame over that of its group
_SMALL_SOME: Final = 0.001  # eV/atom, the same where a factor explains it
_SMALL: Final = 0.005  # eV/atom, a residual that the trapezoidal rule may leave


def net_forces(table: Table) -> Iterator[Finding]:
    """Forces that do not sum to zero."""
    which, sizes = [], []
    for s, frame in enumerate(table.frames):
        if (forces_ec := frame.all_forces_ec) is None or frame.n_atoms < 2:
            continue
        net = float(np.linalg.norm(forces_ec.sum(axis=0)))
        random = float(np.linalg.norm(forces_ec))  # √N times the rms force on an atom
        if net > NET * frame.n_atoms and net > NET_SHARE * random:
            which.append(s)
            sizes.append(net / frame.n_atoms)
    if which:
        what = f"Forces do not sum to zero: up to {max(sizes):.3g} eV/Å per atom are left over"
        fix = "look for missing atoms, an external field, forces that were not converged, or columns that were mixed up"
        yield table.finding("net-force", "warning", which, what, fix)


def forces_against_energies(table: Table) -> Iterator[Finding]:
    """ΔE against -½ Σ (F_i + F_j)·Δx of similar structures in equal cells, by group."""
    if not any(frame.forces_ec is not None for frame in table.frames):
        return
    pairs = table.pairs
    ready = np.array([f.all_forces_ec is not None and s not in table.suspect for s, f in enumerate(table.frames)])
    moved = (pairs.stretch_p < UNSTRAINED) & (pairs.shift_p > _MOVED)
    pairs = pairs.keep(moved & ready[pairs.i_p] & ready[pairs.j_p])
    verdicts: list[Verdict] = []
    alone: dict[str, list[int]] = {}
    right = 0
    for group, members in table.groups.items():
        own = pairs.keep(np.isin(pairs.i_p, members))
        if len(own) < _LEAST:
            which = [s for s in members if ready[s] and table.frames[s].energy is not None and table.n_atoms_s[s] > 1]
            alone |= {group: which} if which else {}
            continue
        table.judged.update(members)
        found = _scaled(table, group, members, own)
        verdicts += [found] if found is not None else []
        if found is None or found.severity != "error":
            right += 1
            yield from _apart(table, group, members, own)
    verdicts, alone = with_unclear(verdicts, alone, right)
    table.judged.update(s for verdict in verdicts for s in verdict.which)
    if not right and any(verdict.cause.startswith(_ENERGIES) for verdict in verdicts):
        table.suspect.update(range(len(table)))
    yield from merged(table, verdicts)
    yield from _not_compared(table, alone)


def _not_compared(table: Table, alone: Mapping[str, list[int]]) -> Iterator[Finding]:
    """Groups with forces and without frames that would test them."""
    pushed = {g: which for g, which in alone.items() if any(_force(table, s) > _NO_FORCE for s in which)}
    if pushed:
        what = f"Energies and forces could not be compared, in {named_groups(list(pushed))}: no or too few frames with "
        what += f"equal cells that differ by less than {NEAR:g} Å"
        fix = "check units and sign of their labels by hand, or add frames of a run, a few steps apart"
        yield table.finding("not-compared", "note", [s for which in pushed.values() for s in which], what, fix)


def _force(table: Table, s: int) -> float:
    return largest_force(table.frames[s]) or 0.0


def _apart(table: Table, group: str, members: list[int], own: Pairs) -> Iterator[Finding]:
    """Another factor in some frames, no relation at all, or single frames that are off."""
    found = _some(table, group, own) or _unrelated(table, group, members, own)
    if found is not None:
        yield found
        return
    which, text = _single(table, own)
    if which:
        what = f"Energies of these frames and of similar ones in {group} contradict their forces: {text}"
        fix = "compute them again (electronic steps not converged? labels of another structure?), or leave them out"
        yield table.finding("forces-against-energy", "warning", which, what, fix)


def _scaled(table: Table, group: str, members: list[int], own: Pairs) -> Verdict | None:
    """A common factor."""
    k = slope(own.work_p, own.energy_p)
    as_is, scaled = typical(own.energy_p - own.work_p), typical(own.energy_p - k * own.work_p)
    if abs(k - 1.0) <= OFF or not k:
        return _too_stiff(table, group, members, own) if k else None
    fits = scaled < _FITS * min(as_is, typical(own.energy_p))
    k_atom, better = _per_atom(table, own)
    if not (fits or k_atom):
        return None
    rule, what, fix = cause(k, k_atom, _stiffness(table, own), fits and not better)
    if what.startswith(_ENERGIES):
        table.suspect.update(members)
    which, numbers = _with_forces(table, members), _numbers(group, own, k)
    return Verdict(rule, "error", group, which, what, numbers, fix, len(own), whole=what != UNNAMED)


def _per_atom(table: Table, own: Pairs) -> tuple[float, bool]:
    """ΔE times the number of atoms over the work of the forces, 0 if that is not near 1, and whether only that fits."""
    energy_p = own.energy_p * table.n_atoms_s[own.i_p]
    k = slope(own.work_p, energy_p)
    left_p = energy_p - k * own.work_p
    ratio = _missed(energy_p, own.work_p) / _missed(own.energy_p, own.work_p)
    if abs(abs(k) - 1.0) > OFF or typical(left_p) > _FITS * typical(energy_p) or ratio > _EQUAL:
        return 0.0, False
    return k, ratio < _BETTER


def _missed(energy_p: FloatArray, work_p: FloatArray) -> float:
    """Share of ΔE that no factor explains, of all pairs together: cells of another size may be few."""
    left = np.abs(energy_p - slope(work_p, energy_p) * work_p).sum()
    return float(left / np.abs(energy_p).sum()) or 1e-12


def _too_stiff(table: Table, group: str, members: list[int], own: Pairs) -> Verdict | None:
    """Energies and forces that agree, and both are of a unit far smaller than eV."""
    stiffness = _stiffness(table, own)
    if stiffness < STIFF or np.median(own.moved_p) < _MOVING:
        return None
    what = (
        "Energies and forces agree with one another, and both are too large: they look like kcal/mol and kcal/mol/Å, "
    )
    what += "or kJ/mol and kJ/mol/Å"
    fix = f"multiply both by {KCAL:.6g} if they are in kcal/mol, by {KJ:.6g} if in kJ/mol"
    numbers = f"force constants of atoms of {group} are about {stiffness:.3g} eV/Å², and 40 in diamond"
    return Verdict("energy-unit", "warning", group, _with_forces(table, members), what, numbers, fix, len(own))


def _stiffness(table: Table, own: Pairs) -> float:
    """Typical force constant of an atom, eV/Å², by the forces as they are."""
    return typical(2.0 * own.harmonic_p / (table.n_atoms_s[own.i_p] * own.shift_p**2))


def _some(table: Table, group: str, own: Pairs) -> Finding | None:
    """Another sign or unit in some frames."""
    mixed = mixed_factors(np.stack([own.i_p, own.j_p]), own.energy_p, own.halves_p2.T, FORCES)
    if mixed is None or mixed.before < _SMALL_SOME * _mean_size(table, own):
        return None
    sign = mixed.name == WRONG_SIGN
    what = "Forces have the wrong sign" if sign else f"Forces look like {mixed.name}"
    what += f" in these frames, and not in others of {group}: so read, ΔE of similar frames is missed by "
    what += f"{mixed.after:.2g} eV instead of {mixed.before:.2g} eV; frames without similar ones are not judged"
    fix = f"multiply them by {mixed.factor:.6g}, and look how other frames were converted"
    return table.finding("force-sign" if sign else "force-unit", "error", mixed.which, what, fix)


def _unrelated(table: Table, group: str, members: list[int], own: Pairs) -> Finding | None:
    """Forces that have nothing to do with the energies."""
    as_is, size = typical(own.energy_p - own.work_p), typical(own.energy_p)
    large = as_is > 0.6 * size and as_is > _SMALL * _mean_size(table, own)
    if not large or typical(_per_harmonic(own)) <= _UNLIKE:
        return None
    what = f"Forces have nothing to do with the energies: {_numbers(group, own, slope(own.work_p, own.energy_p))}, and "
    what += f"misses it by {as_is:.3g} eV of {size:.3g} eV"
    fix = "check that energies and forces belong to the same frames, and forces to the atoms in this order"
    return table.finding("forces-against-energy", "error", _with_forces(table, members), what, fix)


def _with_forces(table: Table, members: list[int]) -> list[int]:
    return [s for s in members if table.frames[s].forces_ec is not None]


def _numbers(group: str, own: Pairs, k: float) -> str:
    return f"in {len(own)} pairs of similar frames of {group} ΔE is {k:.3g} times the work of the forces"


def _per_harmonic(own: Pairs) -> FloatArray:
    """What the work misses over the harmonic energy, which is at least half of what is usual for that displacement."""
    usual = typical(own.harmonic_p) * (own.shift_p / max(typical(own.shift_p), 1e-9)) ** 2  # turns about soft bonds
    return np.abs(own.energy_p - own.work_p) / np.maximum(np.maximum(own.harmonic_p, 0.5 * usual), 1e-4)


def _mean_size(table: Table, own: Pairs) -> float:
    return float(table.n_atoms_s[own.i_p].mean())


def _single(table: Table, own: Pairs) -> tuple[list[int], str]:
    """Frames of which nearly all pairs miss by much more than the others."""
    own = own.keep(own.shift_p < _NEAR)
    if not len(own):
        return [], ""
    odd_p, miss_p = _per_harmonic(own), np.abs(own.energy_p - own.work_p)
    usual = max(_UNLIKE, _TIMES * float(np.quantile(odd_p, 0.25)))
    members = np.unique(np.concatenate([own.i_p, own.j_p]))
    wrong: dict[int, float] = {}
    active = np.ones(len(own), dtype=bool)
    while True:  # the worst one first: without its pairs, its partners are no longer suspected
        worst: tuple[float, int, float] = (0.0, -1, 0.0)
        for s in members:
            mine = active & ((own.i_p == s) | (own.j_p == s))
            if mine.sum() < _LEAST_OWN:
                continue
            miss = float(np.median(miss_p[mine])) / float(table.n_atoms_s[s])
            if float(np.quantile(odd_p[mine], 0.25)) > usual and miss > _SMALL:
                worst = max(worst, (float(np.sum(odd_p[mine] > usual)), int(s), miss))
        if worst[1] < 0:
            break
        wrong[worst[1]] = worst[2]
        active &= (own.i_p != worst[1]) & (own.j_p != worst[1])
    text = f"ΔE misses the work of the forces by {1e3 * max(wrong.values(), default=0.0):.0f} meV/atom"
    return sorted(wrong), text
