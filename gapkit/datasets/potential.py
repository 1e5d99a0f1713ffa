"""A small potential of all structures, which hardly sees energies: what forces say of one another and of energies."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from gapkit import GAP, ConfigError, DataError, Frame, GapkitWarning, Noise, PairTerm, SoapTerm
from gapkit.datasets.energies import is_alone
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
MIXED: Final = 2  # densities of three elements or more
_ATOMS, _MOST_ATOMS = 6000, 20000  # that are fitted; above the latter a check would take too long
LEAST, _MOST = 3, 60  # structures of a config_type
_FEW, _LOOSE = 5, 60.0  # atoms, and Å³ per atom beyond which they are no crystal


class SmallPotential(NamedTuple):
    """The potential, the structures of each config_type that it was fitted to, its elements and number of columns."""

    model: GAP
    chosen: Mapping[str, list[int]]
    elements: list[int]
    columns: int


def some_of_each(table: Table, groups: Mapping[str, list[int]]) -> dict[str, list[int]] | None:
    """An equal share of the atoms for every config_type, spread over its structures; None if these are too large."""
    chosen = {name: _some(which, len(groups), table) for name, which in groups.items()}
    atoms = sum(table.frames[s].n_atoms for which in chosen.values() for s in which)
    return chosen if atoms <= _MOST_ATOMS else None


def small_potential(table: Table, chosen: Mapping[str, list[int]], noise: Noise) -> SmallPotential | None:
    """Fit it to some structures of each config_type; None where no two of their atoms are in reach."""
    frames = [table.frames[s] for which in chosen.values() for s in which]
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers_e)})
    alone = [frame for frame in table.frames if frame.energy is not None and is_alone(frame)]
    e0: dict[str | int, float] | None = None if noise.energy else dict.fromkeys(elements, 0.0)
    soap = SoapTerm(_SOAP, n_sparse=_N_SPARSE, embedding=MIXED if len(elements) > MIXED else None)
    with warnings.catch_warnings():  # of e0, which is of no account here
        warnings.simplefilter("ignore", GapkitWarning)
        model = GAP([PairTerm(_REACH), soap], noise, baselines=[], e0=e0)
        try:
            model.fit([*alone, *frames] if noise.energy else frames, rng=0)
        except (ConfigError, DataError):
            return None
    return SmallPotential(model, chosen, elements, sum(term.n_columns for term in model.state_.terms))


def is_apart(frame: Frame) -> bool:
    """Whether it is an atom or a few, to which no path of structures leads over which forces could be summed."""
    return is_alone(frame) or (
        frame.n_atoms < _FEW and not (frame.pbc_c.all() and frame.volume < _LOOSE * frame.n_atoms)
    )


def _some(which: list[int], n_groups: int, table: Table) -> list[int]:
    share = _ATOMS / n_groups / float(np.mean(table.n_atoms_s[which]))
    n = int(np.clip(share, LEAST, min(_MOST, len(which))))
    return [which[k] for k in np.unique(np.linspace(0, len(which) - 1, n).round().astype(int))]
