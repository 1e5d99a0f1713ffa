"""Small labelled structures and quick models that many tests share; made anew each time, so tests may change them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, Keys, Noise, PairTerm, SoapTerm
from gapkit.atoms.labels import to_frames
from gapkit.gp.posterior import solve
from gapkit.model.fitting import compress, isolated_rows, sigmas_of
from gapkit.model.known import known_by
from gapkit.model.prediction import WANTED

KINDS = ("energy", "forces", "stress")
E0 = {"Si": -2.5, "C": -1.25}
R_CUT = 3.6
EVERYTHING = frozenset(WANTED)


def soap_arguments(**changes: Any) -> dict[str, Any]:
    """A small SOAP of 18 features per species pair, as arguments of dscribe."""
    weighting = {"function": "poly", "r0": R_CUT, "c": 1.0, "m": 1.0}
    return {"r_cut": R_CUT, "n_max": 3, "l_max": 2, "sigma": 0.5, "weighting": weighting, **changes}


def label(atoms: Atoms, kinds: Sequence[str] = KINDS, **info: Any) -> Atoms:
    """`atoms` with the labels of a Morse potential (to 3.52 Å) and of `E0`, kept as ase.io.read keeps them."""
    live = atoms.copy()
    live.calc = MorsePotential(r0=2.2, epsilon=1.0, rho0=4.0, rcut1=1.0, rcut2=1.6)
    e0 = sum(E0[symbol] for symbol in atoms.get_chemical_symbols())
    getters = {
        "energy": lambda: live.get_potential_energy() + e0,
        "forces": live.get_forces,
        "stress": live.get_stress,
    }
    wanted = [kind for kind in kinds if kind != "stress" or atoms.pbc.all()]
    atoms.calc = SinglePointCalculator(atoms, **{kind: getters[kind]() for kind in wanted})
    atoms.info.update(info)
    return atoms


def atom(symbol: str = "Si") -> Atoms:
    """A labelled isolated atom."""
    return label(Atoms(symbol), ("energy",), config_type="isolated_atom")


def crystal(seed: int = 0, *, symbols: str = "Si", kinds: Sequence[str] = KINDS, **info: Any) -> Atoms:
    """A strained and rattled primitive cell of two atoms: Si, or zincblende for "SiC"."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", a=5.0) if symbols == "Si" else bulk(symbols, "zincblende", a=4.6)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True)
    atoms.positions += rng.uniform(-0.1, 0.1, (2, 3))
    return label(atoms, kinds, **info)


def cluster(seed: int = 0, symbols: str = "Si4", *, kinds: Sequence[str] = KINDS, **info: Any) -> Atoms:
    """A labelled cluster without periodic directions."""
    rng = np.random.default_rng(seed)
    n_atoms = len(Atoms(symbols))
    positions = 2.3 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1]])[:n_atoms]
    return label(Atoms(symbols, positions + rng.uniform(-0.15, 0.15, (n_atoms, 3))), kinds, **info)


def frames(n: int = 6, *, kinds: Sequence[str] = KINDS, seed: int = 0) -> list[Atoms]:
    """n labelled silicon crystals and clusters in turn ("crystal", "cluster"), and the isolated atom."""
    found = [atom()]
    for k in range(n):
        build, group = (crystal, "crystal") if k % 2 == 0 else (cluster, "cluster")
        found.append(build(seed + k, kinds=kinds, config_type=group))
    return found


def two_species(n: int = 4, *, kinds: Sequence[str] = KINDS) -> list[Atoms]:
    """Crystals and clusters of silicon and carbon, and the isolated atoms."""
    found = [atom("Si"), atom("C")]
    for k in range(n):
        found.append(crystal(k, symbols="SiC", kinds=kinds) if k % 2 == 0 else cluster(k, "SiCSi2C2", kinds=kinds))
    return found


def model(**changes: Any) -> GAP:
    """An unfitted model of a pair and a SOAP term."""
    terms = [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, n_sparse=8)]
    return GAP(**{"terms": terms, "noise": Noise(energy=0.002, forces=0.05, stress=0.02), **changes})


@lru_cache(maxsize=1)
def fitted() -> GAP:
    """`model()` fitted to `frames()`: shared, so not to be changed."""
    return model().fit(frames())


@lru_cache(maxsize=1)
def unguarded() -> GAP:
    """The same without a repulsion of atoms that are closer than those of `frames()`."""
    return model(baselines=[]).fit(frames())


@lru_cache(maxsize=1)
def fitted_two() -> GAP:
    """`model()` fitted to `two_species()`: shared, so not to be changed."""
    return model().fit(two_species())


def numbers(model: GAP, atoms: Atoms | None = None) -> np.ndarray:
    """Everything that a model says about a periodic structure, as one vector."""
    p = model.predict(crystal(9) if atoms is None else atoms, EVERYTHING)
    stds = (p.energy_epistemic_std, p.energies_epistemic_std, p.forces_std, p.stress_std, p.extrapolation)
    parts = (p.energy, p.energies, p.forces, p.stress, *stds, list(p.by_term.values()))
    return np.concatenate([np.ravel(part) for part in parts])


def fresh(fit: GAP, structures: Sequence[Atoms]) -> GAP:
    """A fit of some structures with the sparse points, noise, e0 and baselines of a model."""
    state, data = fit.state_, to_frames(structures, keys=fit.keys or Keys())
    known = known_by(state.baselines, state.e0, data)
    rows = [isolated_rows(state.terms, state.species), *compress(data, state.terms, known, state.noise, 1)]
    made = copy(fit)
    made.state_ = replace(state, posterior=solve(state.prior_mm, *sigmas_of(rows, state.noise)), rows=rows)
    return made
