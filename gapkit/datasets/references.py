"""Energies of whole config_types against the forces of all structures, in a small potential.

Forces say how the energy changes from structure to structure, whatever its zero: a potential that hardly sees energies
tells whether those of a config_type were computed with another pseudopotential, basis or set of k-points than the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from gapkit import GAP, Frame, GapkitWarning, Noise, PairTerm, SoapTerm
from gapkit.datasets.energies import is_alone
from gapkit.datasets.finding import Finding
from gapkit.datasets.table import Table

_REACH: Final = 6.0  # Å
_SOAP: Final = {
    "r_cut": _REACH,
    "n_max": 8,
    "l_max": 6,
    "sigma": 0.5,
    "weighting": {"function": "poly", "r0": _REACH, "c": 1.0, "m": 1.0},
}
_N_SPARSE: Final = 600
_NOISE: Final = Noise(energy=0.6, forces=0.05, stress=None)
_MIXED: Final = 2  # densities of three elements or more
_ATOMS, _MOST_ATOMS = 6000, 20000  # that are fitted; above the latter a check would take too long
_LEAST, _MOST = 3, 60  # structures of a config_type
_FEW, _LOOSE = 5, 60.0  # atoms, and Å³ per atom beyond which they are no crystal
_STEP: Final = 0.04  # eV/atom that is worth a word
_CERTAIN: Final = 7.0  # σ of a mean energy; up to 4.6 occurs in sound sets
_ALIKE: Final = 2.5  # spreads of the differences within the config_type
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
    """

    group: str
    off: float
    spread: float
    std: float
    bound: float


class Step(NamedTuple):
    """What the energies of a config_type differ from the rest by, eV/atom, and its spread within the config_type."""

    group: str
    height: float
    spread: float


def energies_against_forces(table: Table) -> Iterator[Finding]:
    """The config_type whose energies contradict the forces of all by the same amount in every structure."""
    groups = _comparable(table)
    chosen = {name: _some(which, len(groups), table) for name, which in groups.items()}
    atoms = sum(table.frames[s].n_atoms for which in chosen.values() for s in which)
    if len(groups) < 2 or atoms > _MOST_ATOMS:
        return
    step = largest_step(_judged(table, chosen))
    if step is None:
        return
    what = (
        f"Energies of {step.group} lie about {1e3 * step.height:+.0f} ± {1e3 * step.spread:.0f} meV/atom off those of "
    )
    what += "other groups, judged by the forces of all"
    fix = (
        "compare pseudopotentials, basis, k-points, smearing and functional; compute them again, or leave energies out"
    )
    yield table.finding("two-methods", "warning", groups[step.group], what, fix)


def _comparable(table: Table) -> dict[str, list[int]]:
    """Bound structures with energies and forces of every config_type that has enough of them."""
    frames = table.frames
    found = {
        name: [
            s
            for s in which
            if s not in table.suspect
            and frames[s].energy is not None
            and frames[s].forces_ec is not None
            and not _is_apart(frames[s])
        ]
        for name, which in table.groups.items()
    }
    return {name: which for name, which in found.items() if len(which) >= _LEAST}


def _is_apart(frame: Frame) -> bool:
    """Whether it is an atom or a few, to which no path of structures leads over which forces could be summed."""
    return is_alone(frame) or (
        frame.n_atoms < _FEW and not (frame.pbc_c.all() and frame.volume < _LOOSE * frame.n_atoms)
    )


def _some(which: list[int], n_groups: int, table: Table) -> list[int]:
    """An equal share of the atoms for every config_type, spread over its structures."""
    share = _ATOMS / n_groups / float(np.mean(table.n_atoms_s[which]))
    n = int(np.clip(share, _LEAST, min(_MOST, len(which))))
    return [which[k] for k in np.unique(np.linspace(0, len(which) - 1, n).round().astype(int))]


def _judged(table: Table, chosen: dict[str, list[int]]) -> list[Seen]:
    """Every config_type in a small potential of all."""
    alone = [frame for frame in table.frames if frame.energy is not None and is_alone(frame)]
    frames = [table.frames[s] for which in chosen.values() for s in which]
    elements = {int(z) for frame in frames for z in np.unique(frame.numbers_e)}
    soap = SoapTerm(_SOAP, n_sparse=_N_SPARSE, embedding=_MIXED if len(elements) > _MIXED else None)
    with warnings.catch_warnings():  # of e0, which is of no account here
        warnings.simplefilter("ignore", GapkitWarning)
        model = GAP([PairTerm(_REACH), soap], _NOISE, baselines=[]).fit([*alone, *frames], rng=0)
    predicted = iter(model.predict(frames, want={"energy", "energy_std"}))
    seen = []
    for name, which in chosen.items():
        own, size_s = [next(predicted) for _ in which], table.n_atoms_s[which]
        off_s = table.energy_s[which] - [p.energy for p in own] / size_s
        std = float(np.mean([p.energy_epistemic_std for p in own] / size_s))
        bound = float(np.mean([table.energy_s[s] - _of_elements(table.frames[s], model) for s in which]))
        seen.append(Seen(name, float(off_s.mean()), float(off_s.std()), std, bound))
    return seen


def largest_step(seen: Sequence[Seen]) -> Step | None:
    """The largest step that is certain, large against what varies within its config_type, and no part of an energy far
    from all others, which a small potential does not reach exactly."""
    for own in sorted(seen, key=lambda one: -abs(one.off)):
        rest = [other for other in seen if other is not own]
        usual, near = (float(np.median(x)) for x in zip(*((o.off, o.bound) for o in rest), strict=True))
        height = own.off - usual
        if abs(height) > max(_STEP, _CERTAIN * own.std, _ALIKE * own.spread, _SHARE * abs(own.bound - near)):
            return Step(own.group, height, own.spread)
    return None


def _of_elements(frame: Frame, model: GAP) -> float:
    """e0 of the elements of a structure, eV/atom."""
    return float(np.mean([model.e0_[int(z)] for z in frame.numbers_e]))
