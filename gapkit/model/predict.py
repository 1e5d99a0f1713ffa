"""Evaluation of a fitted model on one structure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.atoms.pieces import pairs_per_atom, pieces
from gapkit.baselines.base import Contribution
from gapkit.gp.term import Covariance, Likeness
from gapkit.model.known import atom_energies, parts
from gapkit.model.memory import PREDICTION_BYTES, are_many, atoms_at_once, block_size
from gapkit.model.parallel import ordered_map
from gapkit.model.prediction import Prediction
from gapkit.model.spread import DERIVED, derived, described, energy_spread, local_std, require_room
from gapkit.model.state import ModelState
from gapkit.model.workers import shared_map
from gapkit.numerics.memory import aligned
from gapkit.typing import KINDS, FloatArray
from gapkit.units import to_voigt

COVARIANCES = frozenset({"energy_std", "energies_std"})
DERIVATIVES = frozenset({"forces", "stress"})


@dataclass(frozen=True)
class _BlockResult:
    """What one block of centres gives, for K sets of weights.

    Attributes
    ----------
    energies_kte
        Local energies by term, shape (K, T, E), eV.
    gradient_kpc
        ∂E/∂r of the pairs of the block, shape (K, P, 3), eV/Å.
    variance_e
        Posterior variance of the local energies, shape (E,), eV².
    sum_m
        Sum of the covariances with the sparse points, shape (M,).
    likeness
        Most similar sparse environments.
    """

    energies_kte: FloatArray
    gradient_kpc: FloatArray | None
    variance_e: FloatArray | None
    sum_m: FloatArray | None
    likeness: Likeness | None


def evaluate(
    state: ModelState,
    frame: Frame,
    want: Collection[str],
    *,
    neighbours: NeighbourList | None = None,
    n_jobs: int = 1,
    max_memory: float = PREDICTION_BYTES,
    draw_m: FloatArray | None = None,
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
    draw_m
        Weights of a posterior sample whose forces are wanted, too.
    """
    weights = state.posterior.weights_m
    weights_km = weights[None] if draw_m is None else np.stack([weights, draw_m])
    sums, regions = _summed(state, frame, want, weights_km, neighbours, n_jobs, max_memory)
    values = sums.prediction(0)
    if draw_m is not None and sums.forces_kec is not None:
        values["forces_sample"] = sums.prediction(1)["forces"]
    if "energy_std" in want:
        values |= described(state, frame, "energy", energy_spread(state, frame, sums.sum_m, list(regions())))
    if "energies_std" in want:
        values |= local_std(state, frame, sums.variance_e)
    if DERIVED & set(want):
        require_room(state, frame, want, max_memory)
        pairs = (neighbours or NeighbourList(state.reach)).pairs(frame)
        values |= next(ordered_map(lambda p: derived(state, frame, p, want, max_memory), [pairs], 1))
    if "extrapolation" in want:
        nearest_e = sums.likeness.column_e
        unlike_e = np.where(np.isin(nearest_e, state.guessed_m), 1.0, sums.likeness.extrapolation_e)
        values |= {"extrapolation": unlike_e, "nearest": nearest_e}
    return Prediction(**values)


def evaluate_members(
    state: ModelState, weights_km: FloatArray, frame: Frame, want: Collection[str], n_jobs: int, max_memory: float
) -> list[Prediction]:
    """Values for several sets of weights, in one pass over the descriptors."""
    sums, _ = _summed(state, frame, want, weights_km, None, n_jobs, max_memory)
    return [Prediction(**sums.prediction(k)) for k in range(len(weights_km))]


def _summed(
    state: ModelState,
    frame: Frame,
    want: Collection[str],
    weights_km: FloatArray,
    neighbours: NeighbourList | None,
    n_jobs: int,
    max_memory: float,
) -> tuple[_Sums, Callable[[], Iterable[Pairs]]]:
    """Sums over all regions of a structure, and the regions."""
    many = are_many(frame.n_atoms, len(state.posterior.weights_m), max_memory)
    max_memory = min(max_memory, PREDICTION_BYTES)
    density = pairs_per_atom(frame, state.reach)
    at_once = atoms_at_once(max_memory, density)

    def regions() -> Iterable[Pairs]:
        if frame.n_atoms <= at_once:
            return [(neighbours or NeighbourList(state.reach)).pairs(frame)]
        return pieces(frame, state.reach, at_once)

    sums = _Sums(state, frame, want, weights_km, block_size(max_memory, density, state.terms, n_jobs), many)
    for pairs in regions():
        sums.add(pairs, n_jobs)
    whole = pairs if frame.n_atoms <= at_once else None
    kinds = [kind for kind in KINDS if kind in want]
    sums.known = parts(state.baselines, frame, kinds, whole, state.reach)
    return sums, regions


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
    """What is summed over the pieces of a structure, for K sets of weights."""

    def __init__(
        self, state: ModelState, frame: Frame, want: Collection[str], weights_km: FloatArray, block: int, many: bool
    ) -> None:
        self._state, self._frame, self._want, self._size, self._many = state, frame, frozenset(want), block, many
        self._weights_km, n_sets = weights_km, len(weights_km)
        self.energies_kte = np.zeros((n_sets, len(state.terms), frame.n_atoms))
        self.forces_kec = np.zeros((n_sets, frame.n_atoms, 3)) if "forces" in want else None
        self.virial_kcc = np.zeros((n_sets, 3, 3))
        self.variance_e = np.zeros(frame.n_atoms)
        self.sum_m = np.zeros(len(state.posterior.weights_m))
        self.likeness = Likeness.none(frame.n_atoms)
        self.known: dict[str, Contribution] = {}

    def add(self, pairs: Pairs, n_jobs: int) -> None:
        """Add one piece."""
        n_sets = len(self._weights_km)
        gradient_kpc = np.empty((n_sets, *pairs.r_pc.shape)) if self._want & DERIVATIVES else None
        blocks = list(_blocks(pairs, self._size))
        # pairs are counted within their block, whose results are arrays of their own
        alone = [replace(b, origin_p=np.arange(len(b.e_p))) for b in blocks]
        tasks = [_Task(b, self._want, self._weights_km, self._many) for b in alone]
        for block, result in zip(blocks, shared_map(_evaluate_block, self._state, tasks, n_jobs), strict=True):
            self.energies_kte[:, :, block.centres_e] = result.energies_kte
            if gradient_kpc is not None and result.gradient_kpc is not None:
                gradient_kpc[:, block.origin_p] = result.gradient_kpc
            if result.variance_e is not None:
                self.variance_e[block.centres_e] = result.variance_e
            if result.sum_m is not None:
                self.sum_m += result.sum_m
            if result.likeness is not None:
                self.likeness.put(block.centres_e, result.likeness)
        if gradient_kpc is None:
            return
        for k, gradient_pc in enumerate(gradient_kpc):
            self.virial_kcc[k] += pairs.virial(gradient_pc)
            if self.forces_kec is not None:
                self.forces_kec[k] += pairs.forces(gradient_pc)

    def prediction(self, k: int) -> dict[str, Any]:
        """Fields of the `Prediction` of one set of weights."""
        state, frame = self._state, self._frame
        e0_e = atom_energies(frame.numbers_e, state.e0)
        by_term = {"e0": float(e0_e.sum())}
        by_term |= {name: float(part.energies_e.sum()) for name, part in self.known.items()}
        by_term |= {t.name: float(own_e.sum()) for t, own_e in zip(state.terms, self.energies_kte[k], strict=True)}
        forces_ec, virial_cc = None if self.forces_kec is None else self.forces_kec[k], self.virial_kcc[k]
        given = Contribution(e0_e + self.energies_kte[k].sum(axis=0), forces_ec, virial_cc)
        whole = reduce(Contribution.plus, self.known.values(), given)
        stress_v = None
        if "stress" in self._want and whole.virial_cc is not None:
            stress_v = to_voigt(whole.virial_cc) / frame.volume
        return {
            "energy": float(sum(by_term.values())),
            "energies": whole.energies_e if "energies" in self._want else None,
            "forces": whole.forces_ec,
            "stress": stress_v,
            "by_term": by_term,
        }


class _Task(NamedTuple):
    """A block of centres, what is wanted of it, the sets of weights, and whether it is one of many."""

    pairs: Pairs
    want: frozenset[str]
    weights_km: FloatArray
    many: bool


def _evaluate_block(state: ModelState, task: _Task) -> _BlockResult:
    """All terms on one block of centres."""
    block, want, weights_km, many = task
    (n_sets, n_columns), n_centres = weights_km.shape, len(block.centres_e)
    energies_kte = np.zeros((n_sets, len(state.terms), n_centres))
    gradient_kpc = np.zeros((n_sets, *block.r_pc.shape)) if want & DERIVATIVES else None
    covariance = likeness = None
    if want & COVARIANCES:
        covariance = Covariance(aligned(n_centres, n_columns), np.zeros(n_centres))
        covariance.rows_em[:] = 0.0
    if "extrapolation" in want:
        likeness = Likeness.none(n_centres)
    for t, (term, columns) in enumerate(zip(state.terms, state.slices, strict=True)):
        like = likeness if state.is_compared(term) else None
        own = None if covariance is None else replace(covariance, rows_em=covariance.rows_em[:, columns])
        term.accumulate(block, weights_km[:, columns], energies_kte[:, t], gradient_kpc, own, like, columns.start)
    if covariance is None:
        return _BlockResult(energies_kte, gradient_kpc, None, None, likeness)
    variance_e = None
    if "energies_std" in want:
        variance_of = state.posterior.variance_of_many if many else state.posterior.variance
        variance_e = variance_of(covariance.rows_em, covariance.prior_e)
    return _BlockResult(energies_kte, gradient_kpc, variance_e, covariance.rows_em.sum(axis=0), likeness)


def _blocks(pairs: Pairs, size: int) -> Iterator[Pairs]:
    """Blocks of centres that are alike, of equal size and, for two processes, of even number."""
    n_centres = len(pairs.centres_e)
    twice = -(-n_centres // (2 * size))
    return pairs.grouped().blocks(-(-n_centres // (2 * twice)) if n_centres > size else size)
