"""Evaluation of a fitted model on one structure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.atoms.pieces import pairs_per_atom, pieces
from gapkit.gp.term import BLOCK, Covariance, SparseTerm
from gapkit.model.memory import PREDICTION_BYTES, atoms_at_once, block_size
from gapkit.model.prediction import Prediction
from gapkit.model.state import ModelState
from gapkit.model.workers import shared_map
from gapkit.numerics.memory import aligned
from gapkit.typing import FloatArray
from gapkit.units import to_voigt

STD_KINDS = frozenset({"energy_std", "energies_std"})
DERIVATIVES = frozenset({"forces", "stress"})


@dataclass(frozen=True)
class _BlockResult:
    """What one block of centres gives.

    Attributes
    ----------
    energies_te
        Local energies by term, shape (T, E), eV.
    gradient_pc
        ∂E/∂r of the pairs of the block, shape (P, 3), eV/Å.
    variance_e
        Posterior variance of the local energies, shape (E,), eV².
    sum_m
        Sum of the covariances with the sparse points, shape (M,).
    """

    energies_te: FloatArray
    gradient_pc: FloatArray | None
    variance_e: FloatArray | None
    sum_m: FloatArray | None


def evaluate(
    state: ModelState,
    frame: Frame,
    want: Collection[str],
    *,
    neighbours: NeighbourList | None = None,
    n_jobs: int = 1,
    max_memory: float = PREDICTION_BYTES,
) -> Prediction:
    """Energy and whatever is wanted of one structure.

    Parameters
    ----------
    neighbours
        A list that may be kept from step to step; not used for structures that are done in regions.
    n_jobs
        Processes over blocks of centres; the result does not depend on it.
    max_memory
        Bytes for work arrays: a large structure is done in regions.
    """
    density = pairs_per_atom(frame, state.reach)
    at_once = atoms_at_once(max_memory, density)

    def regions() -> Iterable[Pairs]:
        if frame.n_atoms <= at_once:
            return [(neighbours or NeighbourList(state.reach)).pairs(frame)]
        return pieces(frame, state.reach, at_once)

    sums = _Sums(state, frame, want, block_size(max_memory, density, state.terms, n_jobs))
    for pairs in regions():
        sums.add(pairs, n_jobs)
    table = np.zeros(max(state.e0) + 1)
    table[list(state.e0)] = list(state.e0.values())
    e0_e = table[frame.numbers_e]
    by_term = {"e0": float(e0_e.sum())}
    by_term |= {term.name: float(own_e.sum()) for term, own_e in zip(state.terms, sums.energies_te, strict=True)}
    return Prediction(
        energy=float(sum(by_term.values())),
        energies=e0_e + sums.energies_te.sum(axis=0) if "energies" in want else None,
        forces=sums.forces_ec,
        stress=to_voigt(sums.virial_cc) / frame.volume if "stress" in want else None,
        energy_std=sums.energy_std(regions()) if "energy_std" in want else None,
        energies_std=np.sqrt(sums.variance_e) if "energies_std" in want else None,
        by_term=by_term,
    )


def evaluate_many(
    state: ModelState, frames: Sequence[Frame], wants: Sequence[Collection[str]], n_jobs: int, max_memory: float
) -> Iterator[Prediction]:
    """The same for many structures, in order; processes run over the structures."""
    tasks = [(frame, frozenset(want), max_memory) for frame, want in zip(frames, wants, strict=True)]
    return shared_map(_evaluate_task, state, tasks, n_jobs, per_process=8)


def _evaluate_task(state: ModelState, task: tuple[Frame, frozenset[str], float]) -> Prediction:
    frame, want, max_memory = task
    return evaluate(state, frame, want, max_memory=max_memory)


class _Sums:
    """What is summed over the pieces of a structure."""

    def __init__(self, state: ModelState, frame: Frame, want: Collection[str], block: int) -> None:
        self._state, self._want, self._size = state, frozenset(want), block
        self.energies_te = np.zeros((len(state.terms), frame.n_atoms))
        self.forces_ec = np.zeros((frame.n_atoms, 3)) if "forces" in want else None
        self.virial_cc = np.zeros((3, 3))
        self.variance_e = np.zeros(frame.n_atoms)
        self.sum_m = np.zeros(len(state.posterior.weights_m))

    def add(self, pairs: Pairs, n_jobs: int) -> None:
        """Add one piece."""
        gradient_pc = np.empty_like(pairs.r_pc) if self._want & DERIVATIVES else None
        blocks = list(_blocks(pairs, self._size))
        # pairs are counted within their block, whose results are arrays of their own
        tasks = [(replace(b, origin_p=np.arange(len(b.e_p))), self._want) for b in blocks]
        for block, result in zip(blocks, shared_map(_evaluate_block, self._state, tasks, n_jobs), strict=True):
            self.energies_te[:, block.centres_e] = result.energies_te
            if gradient_pc is not None and result.gradient_pc is not None:
                gradient_pc[block.origin_p] = result.gradient_pc
            if result.variance_e is not None:
                self.variance_e[block.centres_e] = result.variance_e
            if result.sum_m is not None:
                self.sum_m += result.sum_m
        if gradient_pc is not None:
            self.virial_cc += pairs.virial(gradient_pc)
            if self.forces_ec is not None:
                self.forces_ec += pairs.forces(gradient_pc)

    def energy_std(self, regions: Iterable[Pairs]) -> float:
        """Posterior standard deviation of the total energy, eV: sites of one channel are correlated."""
        everywhere = list(regions)
        prior = sum(_total_prior(term, everywhere) for term in self._state.terms)
        return float(np.sqrt(self._state.posterior.variance(self.sum_m[None], np.array([prior]))[0]))


def _evaluate_block(state: ModelState, task: tuple[Pairs, frozenset[str]]) -> _BlockResult:
    """All terms on one block of centres."""
    block, want = task
    n_centres, n_columns = len(block.centres_e), len(state.posterior.weights_m)
    energies_te = np.zeros((len(state.terms), n_centres))
    gradient_pc = np.zeros_like(block.r_pc) if want & DERIVATIVES else None
    covariance = None
    if want & STD_KINDS:
        covariance = Covariance(aligned(n_centres, n_columns), np.zeros(n_centres))
        covariance.rows_em[:] = 0.0
    for term, columns, own_e in zip(state.terms, state.slices, energies_te, strict=True):
        own = None if covariance is None else replace(covariance, rows_em=covariance.rows_em[:, columns])
        term.accumulate(block, state.posterior.weights_m[columns], own_e, gradient_pc, own)
    if covariance is None:
        return _BlockResult(energies_te, gradient_pc, None, None)
    variance_e = None
    if "energies_std" in want:
        variance_e = state.posterior.variance(covariance.rows_em, covariance.prior_e)
    return _BlockResult(energies_te, gradient_pc, variance_e, covariance.rows_em.sum(axis=0))


def _blocks(pairs: Pairs, size: int) -> Iterator[Pairs]:
    """Blocks of centres that are alike, of equal size and, for two processes, of even number."""
    n_centres = len(pairs.centres_e)
    twice = -(-n_centres // (2 * size))
    return pairs.grouped().blocks(-(-n_centres // (2 * twice)) if n_centres > size else size)


def _total_prior(term: SparseTerm, regions: Sequence[Pairs]) -> float:
    """Prior variance of the total energy, eV²: all sites of a channel are correlated."""
    total = 0.0
    for channel in term.descriptor.channels:
        parts = (block for pairs in regions for block in term.descriptor.pairs_of(pairs, channel).blocks(4 * BLOCK))
        sites = [term.descriptor.sites(block, channel) for block in parts if len(block.centres_e)]
        blocks = [(s.full_sd, np.ones(len(s.x_sd)) if s.weight_s is None else s.weight_s) for s in sites]
        for a, (x_a, w_a) in enumerate(blocks):
            for b, (x_b, w_b) in enumerate(blocks[: a + 1]):
                value = float(w_a @ term.kernel.values(x_a, x_b) @ w_b)
                total += value if a == b else 2.0 * value
    return term.delta**2 * total
