"""Forces: whether they sum to zero, and whether energies change as they say between similar structures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from gapkit.datasets.finding import Finding
from gapkit.datasets.pairs import UNSTRAINED, Pairs
from gapkit.datasets.robust import slope, typical
from gapkit.datasets.table import Table
from gapkit.datasets.units import FORCES, named
from gapkit.typing import FloatArray

NET: Final = 0.02
"""Size of the sum of all forces, eV/Å per atom, that numerical noise of a reference method does not reach …"""
NET_SHARE: Final = 0.05
"""… and its share of what forces of that size and random direction would sum to."""
_LEAST: Final = 8  # pairs from which something is concluded
_LEAST_OWN: Final = 3  # the same of one frame
_NEAR: Final = 0.2  # Å, displacement in pairs that may condemn a single frame: methyl groups turn beyond it
_OFF: Final = 0.12  # of the slope of ΔE against the work of the forces
_FITS: Final = 0.35  # share of the residual that another factor must leave
_UNLIKE: Final = 0.3  # residual over harmonic energy; correct forces of all sets that were looked at have 0.01 to 0.06
_TIMES: Final = 10.0  # the same of one frame over that of its group
_SMALL: Final = 0.005  # eV/atom, a residual that the trapezoidal rule may leave


def net_forces(table: Table) -> Iterator[Finding]:
    """Forces that do not sum to zero."""
    which, sizes = [], []
    for s, frame in enumerate(table.frames):
        if frame.forces_ec is None or frame.n_atoms < 2 or frame.force_mask_e is not None:
            continue
        net = float(np.linalg.norm(frame.forces_ec.sum(axis=0)))
        random = float(np.linalg.norm(frame.forces_ec))  # √N times the rms force on an atom
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
    ready = np.array([f.forces_ec is not None and s not in table.suspect for s, f in enumerate(table.frames)])
    pairs = pairs.keep((pairs.stretch_p < UNSTRAINED) & ready[pairs.i_p] & ready[pairs.j_p])
    for group, members in table.groups.items():
        own = pairs.keep(np.isin(pairs.i_p, members))
        if len(own) < _LEAST:
            continue
        found = _whole_group(table, group, members, own)
        if found is not None:
            yield found
            continue
        which, text = _single(table, own)
        if which:
            what = f"Energies of these frames and of similar ones in {group} contradict their forces: {text}"
            fix = "compute them again (electronic steps not converged? labels of another structure?), or leave them out"
            yield table.finding("forces-against-energy", "warning", which, what, fix)


def _whole_group(table: Table, group: str, members: list[int], own: Pairs) -> Finding | None:
    """A common factor, or forces that have nothing to do with the energies."""
    k = slope(own.work_p, own.energy_p)
    as_is, scaled = typical(own.energy_p - own.work_p), typical(own.energy_p - k * own.work_p)
    which = [s for s in members if table.frames[s].forces_ec is not None]
    numbers = f"in {len(own)} pairs of similar frames of {group} ΔE is {k:.3g} times the work of the forces"
    if abs(k - 1.0) > _OFF and scaled < _FITS * as_is and scaled < _FITS * typical(own.energy_p):
        factor = 1.0 / k
        unit = named(abs(factor), FORCES)
        if abs(k + 1.0) < _OFF:
            what, fix = "Forces have the wrong sign, they are gradients", "multiply them by -1"
        elif unit:
            what, fix = f"Forces look like {unit}", f"multiply them by {np.sign(k) / FORCES[unit]:.6g}"
        else:
            what, fix = "Forces or energies have another unit", f"check both: forces times {k:.4g} would agree"
        return table.finding(
            "force-sign" if k < 0.0 and "sign" in what else "force-unit", "error", which, f"{what}: {numbers}", fix
        )
    ratio = typical(_per_harmonic(own))
    if as_is > 0.6 * typical(own.energy_p) and ratio > _UNLIKE and as_is > _SMALL * _mean_size(table, own):
        what = f"Forces have nothing to do with the energies: {numbers}, and misses it by {as_is:.3g} eV of "
        what += f"{typical(own.energy_p):.3g} eV"
        fix = "check that energies and forces belong to the same frames, and forces to the atoms in this order"
        return table.finding("forces-against-energy", "error", which, what, fix)
    return None


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
