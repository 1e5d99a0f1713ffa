"""Random members of the prior of a descriptor and a kernel, as models that can be held to the laws."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from gapkit import Prediction
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.base import Descriptor
from gapkit.gp.term import SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.typing import FloatArray
from gapkit.units import to_voigt


class TermModel:
    """A sum of terms with given weights.

    Parameters
    ----------
    terms
        Terms with their sparse points.
    weights_m
        One weight per column of the terms, shape (M,), eV.
    e0
        Energy per atom by atomic number, eV.
    derivative_accuracy
        Relative error of the derivatives of a descriptor that takes them numerically.
    """

    def __init__(
        self,
        terms: Sequence[SparseTerm],
        weights_m: FloatArray,
        e0: Mapping[int, float] | None = None,
        derivative_accuracy: float = 0.0,
    ) -> None:
        self.terms, self.weights_m, self.e0 = list(terms), weights_m, e0 or {}
        self.derivative_accuracy = derivative_accuracy

    @property
    def reach(self) -> float:
        """Largest reach of the terms, Å."""
        return max(self.cutoffs)

    @property
    def cutoffs(self) -> list[float]:
        """Reach of each term, Å."""
        return [term.descriptor.reach for term in self.terms]

    def pairs(self, atoms: Atoms) -> Pairs:
        """All pairs of a structure within the reach."""
        return NeighbourList(self.reach).pairs(to_frame(atoms, labels=False))

    def evaluate(self, pairs: Pairs, derivatives: bool = True) -> tuple[FloatArray, dict[str, float], FloatArray]:
        """Local energies (N,), energy of each term, and ∂E/∂r of all pairs, shape (P, 3), zero if not asked for."""
        energies_e = np.array([self.e0.get(int(z), 0.0) for z in pairs.numbers_e])
        by_term = {"e0": float(energies_e.sum())}
        gradient_pc, done = np.zeros_like(pairs.r_pc), 0
        for term in self.terms:
            own_e, weights_m = np.zeros(len(energies_e)), self.weights_m[done : done + term.n_columns]
            term.accumulate(pairs, weights_m[None], own_e[None], gradient_pc[None] if derivatives else None)
            by_term[term.name] = float(own_e.sum())
            energies_e += own_e
            done += term.n_columns
        return energies_e, by_term, gradient_pc

    def predict(self, atoms: Atoms, want: Collection[str]) -> Prediction:
        """Energy, local energies, forces and stress."""
        pairs = self.pairs(atoms)
        energies_e, by_term, gradient_pc = self.evaluate(pairs, "forces" in want or "stress" in want)
        return Prediction(
            energy=sum(by_term.values()),
            energies=energies_e,
            forces=pairs.forces(gradient_pc) if "forces" in want else None,
            stress=to_voigt(pairs.virial(gradient_pc)) / atoms.get_volume() if "stress" in want else None,
            by_term=by_term,
        )


class CalculatorModel:
    """An ASE calculator as a model.

    Parameters
    ----------
    calculator
        With local energies among its properties.
    reach
        Its cutoff, Å.
    """

    def __init__(self, calculator: Calculator, reach: float) -> None:
        self.calculator, self.reach = calculator, reach

    def predict(self, atoms: Atoms, want: Collection[str]) -> Prediction:
        """What the calculator says; its one term is called "calculator"."""
        names = {"energy", "energies"} | (set(want) & {"forces", "stress"})
        self.calculator.calculate(atoms.copy(), sorted(names), ["positions", "numbers", "cell", "pbc"])
        found = dict(self.calculator.results)
        arrays = {name: found.get(name) for name in names - {"energy"}}
        return Prediction(float(found["energy"]), by_term={"calculator": float(found["energy"])}, **arrays)


def sample_term(
    name: str,
    descriptor: Descriptor,
    kernel: Kernel,
    structures: Iterable[Atoms],
    n_points: int,
    rng: np.random.Generator,
    delta: float = 1.0,
) -> SparseTerm:
    """A term with sparse points drawn at random from the sites of structures, `n_points` for each channel at most."""
    features: dict[tuple[int, ...], list[FloatArray]] = {channel: [] for channel in descriptor.channels}
    neighbours = NeighbourList(descriptor.reach)
    for atoms in structures:
        pairs = neighbours.pairs(to_frame(atoms, labels=False))
        for channel, rows in features.items():
            own = descriptor.pairs_of(pairs, channel)
            if len(own.centres_e):
                rows.append(np.array(descriptor.sites(own, channel).x_sd))
    points = {}
    for channel, rows in features.items():
        x_sd = np.concatenate(rows) if rows else np.empty((0, 0))
        x_sd = x_sd[np.isfinite(x_sd).all(axis=1)]
        if len(x_sd):
            points[channel] = descriptor.points(x_sd[rng.permutation(len(x_sd))[:n_points]])
    return SparseTerm(name, descriptor, kernel, delta, points)


def sample_model(terms: Sequence[SparseTerm], rng: np.random.Generator, derivative_accuracy: float = 0.0) -> TermModel:
    """Terms with random weights, scaled so that energies are a few eV."""
    m = sum(term.n_columns for term in terms)
    weights_m = rng.normal(size=m) / np.sqrt(m)
    species = sorted({z for term in terms for z in term.descriptor.species})
    e0 = {z: float(e) for z, e in zip(species, rng.normal(size=len(species)), strict=True)}
    return TermModel(terms, weights_m, e0, derivative_accuracy)
