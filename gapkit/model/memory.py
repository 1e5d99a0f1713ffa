"""What a fit or a prediction needs of memory, and block sizes that keep it below a ceiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gapkit._check import memory
from gapkit.atoms.frame import Frame
from gapkit.descriptors.base import sites_of
from gapkit.errors import ConfigError
from gapkit.gp.design import BLOCK_BYTES
from gapkit.gp.term import BLOCK, SparseTerm
from gapkit.model.parallel import n_threads
from gapkit.model.rows import TOGETHER, Work, rows_of
from gapkit.numerics.factor import FOLD_ROWS
from gapkit.numerics.select import POOL_BYTES
from gapkit.typing import Kind

PREDICTION_BYTES = 1e9
"""Ceiling of a prediction when the user gives none; what can be done in blocks takes no more in any case."""

_FOLDS = tuple(FOLD_ROWS >> k for k in range(6))  # rows folded at a time, from fast to frugal
_PAIR_BYTES = 250  # of a neighbour pair: list, copies sorted by centre, gradient
_WORK_BYTES = 3200  # of a neighbour pair while its block is evaluated
_IN_FLIGHT = 3  # structures per thread: in work, and done but not yet folded
_BLOCKS = 4  # what a thread holds of a block, in units of its derivative rows
_FACTORS = 4  # M × M arrays that prepare for the variance of many rows
_SHARE = 0.25  # of a ceiling that blocks may take, and small structures that are done together


@dataclass(frozen=True)
class FitPlan:
    """How a fit uses memory.

    Attributes
    ----------
    n_bytes
        Estimated peak of all arrays, without the structures.
    fold_rows
        Rows gathered before they are folded.
    work
        How rows are made.
    """

    n_bytes: float
    fold_rows: int
    work: Work


def plan_fit(frames: Sequence[Frame], kinds_of: Sequence[set[Kind]], m: int, n_jobs: int, ceiling: float) -> FitPlan:
    """The fastest way to fit M sparse points that keeps below a ceiling (bytes).

    Parameters
    ----------
    frames, kinds_of
        Structures, and the kinds of label used of each.

    Raises
    ------
    ConfigError
        No way keeps below the ceiling; says what is needed.
    """
    rows: Counter[tuple[str, Kind]] = Counter()
    for frame, kinds in zip(frames, kinds_of, strict=True):
        for kind in kinds:
            rows[frame.group, kind] += {"energy": 1, "forces": 3 * frame.n_atoms, "stress": 6}[kind]
    row = 8.0 * (m + 1)
    largest = max(map(rows_of, frames))
    factors = row * sum(min(n, m + 1) for n in rows.values())
    solving = 2 * factors + 3 * row * m

    def plan(fold: int, jobs: int) -> FitPlan:
        gathered = [row * min(n, m + 1 + fold) for n in rows.values()]
        folding = sum(gathered) + 2 * max(gathered)  # one of them may be growing, or be factorised in a copy
        work, working = _working(row, largest, jobs, ceiling)
        return FitPlan(max(solving, folding + row * m + working), fold, work)

    for jobs in range(n_threads(n_jobs), 0, -1):
        for fold in _FOLDS:
            found = plan(fold, jobs)
            if found.n_bytes <= ceiling:
                return found
    raise ConfigError(
        f"max_memory is {ceiling / 1e9:.3g} GB, but this fit needs at least {found.n_bytes / 1e9:.3g} GB "
        f"({m} sparse points; {len(rows)} pairs of config_type and kind of label; frames of up to "
        f"{max(f.n_atoms for f in frames)} atoms)",
        fix="raise max_memory, or use fewer sparse points, fewer config_types or smaller frames",
    )


def _working(row: float, largest: int, jobs: int, ceiling: float) -> tuple[Work, float]:
    """How threads make rows of so many bytes, where a structure has up to `largest`, and the bytes that they hold."""
    block = min(BLOCK_BYTES, _SHARE * ceiling / (_BLOCKS * jobs))
    together = int(min(TOGETHER, _SHARE * ceiling / (row * _IN_FLIGHT * jobs)))
    return Work(jobs, block, together), jobs * (_IN_FLIGHT * row * max(largest, together) + _BLOCKS * block)


def plan_rows(frames: Sequence[Frame], n_rows: int, m: int, n_jobs: int, ceiling: float) -> Work:
    """How to make n rows of M sparse points that are all kept; ConfigError as `plan_fit`."""
    row, largest = 8.0 * (m + 1), max(map(rows_of, frames))
    for jobs in range(n_threads(n_jobs), 0, -1):
        work, working = _working(row, largest, jobs, ceiling)
        if row * n_rows + working <= ceiling:
            return work
    raise ConfigError(
        f"max_memory is {ceiling / 1e9:.3g} GB, but {n_rows} rows of {m} sparse points need "
        f"{(row * n_rows + working) / 1e9:.3g} GB",
        fix="raise max_memory, or hold out fewer or smaller frames",
    )


def pool_bytes(ceiling: float) -> float:
    """Bytes of candidate environments, of which the choice of sparse points holds a few copies."""
    return min(POOL_BYTES, ceiling / 6.0)


def prediction_bytes(max_memory: float | str | None) -> float:
    """The ceiling on a prediction that the user means."""
    return PREDICTION_BYTES if max_memory is None else memory("max_memory", max_memory)


def atoms_at_once(ceiling: float, pairs_per_atom: float) -> float:
    """Atoms whose neighbour pairs take half of a ceiling."""
    return max(1.0, 0.5 * ceiling / (_PAIR_BYTES * max(1.0, pairs_per_atom)))


def are_many(n_atoms: int, m: int, ceiling: float) -> bool:
    """Whether `Posterior.variance_of_many` pays for a structure, and has room to prepare."""
    return n_atoms >= m and 8.0 * m**2 * _FACTORS <= 0.5 * ceiling


def block_size(ceiling: float, pairs_per_atom: float, terms: Sequence[SparseTerm], n_jobs: int) -> int:
    """Centres evaluated at once by each thread, together in the other half."""
    per_centre, reach = _WORK_BYTES * pairs_per_atom, max((t.descriptor.reach for t in terms), default=1.0)
    for term in terms:
        features = sum(p.x_md.shape[1] for p in term.points.values())
        neighbours = pairs_per_atom * (term.descriptor.reach / reach) ** 3
        per_centre += 8 * (40 * features + 4 * term.n_columns) * sites_of(term.descriptor, neighbours)
    return max(1, min(BLOCK, int(0.5 * ceiling / (n_threads(n_jobs) * per_centre))))
