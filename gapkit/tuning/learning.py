"""Learning curves: errors of held-out frames against the number of training frames and of sparse points."""

from __future__ import annotations

import numbers
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from ase import Atoms
from tqdm import tqdm

from gapkit import GAP, ACSFTerm, ConfigError, DataError, Frame, GapkitWarning, Keys, SoapTerm, evaluate, split
from gapkit._check import generator, threads, whole
from gapkit.errors import warn
from gapkit.numerics.partition import spread
from gapkit.tuning.curve import CurvePoint, LearningCurve
from gapkit.typing import KINDS, IntArray, Rng

_HALVINGS: Final = 4  # the default numbers are all, a half, … down to this power of one half
_LEAST: Final = 5  # of the default numbers of frames and of sparse points


def learning_curve(
    model: GAP,
    frames: Iterable[Atoms] | Iterable[Frame],
    *,
    sizes: Sequence[float] | None = None,
    n_sparse: Sequence[int] | None = None,
    frames_test: Iterable[Atoms] | Iterable[Frame] | None = None,
    fraction: float = 0.2,
    rng: Rng = 0,
    n_jobs: int | None = None,
) -> LearningCurve:
    """Errors against the number of training frames, and against the number of sparse points.

    Subsets are drawn so that each has the same shares of config_types, every element, and all single atoms, which do
    not count. Fewer sparse points are those of the fit on all frames, thinned. Ctrl-C stops and keeps what is done.

    Parameters
    ----------
    model
        Settings of all fits; it is not changed.
    frames
        Labelled structures in the order of their files; not changed.
    sizes
        Numbers of training frames, or shares of them (floats up to 1.0). None: all, a half, … a sixteenth.
    n_sparse
        Numbers of sparse points of each term with environments. None: all that the model has, a half, … a sixteenth.
        Empty: no such curve.
    frames_test
        Held-out structures. None: `gapkit.split` takes a `fraction` of the frames, by trajectories.
    fraction
        Share of the frames that is held out, without `frames_test`.
    rng
        Generator or seed of the split, the subsets and the sparse points.
    n_jobs
        Cores of each fit; None: those of the model.

    Raises
    ------
    ConfigError, DataError
        Numbers outside their range; frames that cannot be split or fitted.
    """
    random = generator(rng)
    given: list[Any] = list(frames)
    keys = model.keys or Keys()
    train, test = split(given, fraction, keys=keys, rng=random) if frames_test is None else (given, list(frames_test))
    if not test:
        raise DataError("There are no held-out frames", fix="give frames_test, or leave it out")
    order, n_alone = _nested(train, keys, random)
    numbers_of_frames = _sizes(sizes, len(train) - n_alone)
    wanted = None if n_sparse is None else _wanted(model, n_sparse)
    work = _Work(model, [train[s] for s in order], n_alone, test, int(random.integers(2**31)), n_jobs)
    by_frames, by_sparse = list[CurvePoint](), list[CurvePoint]()
    total = len(numbers_of_frames) + (_HALVINGS + 1 if wanted is None else len(wanted))
    with tqdm(desc="learning curve", total=total, unit="fit", disable=None) as bar:
        try:
            for point in work.by_frames(numbers_of_frames, wanted != []):
                by_frames += [point] if point.n_frames in numbers_of_frames else []
                bar.update()
            for point in work.by_sparse(wanted):
                by_sparse.append(point)
                bar.update()
        except KeyboardInterrupt:
            if not by_frames:
                raise
            warn("the learning curve was interrupted and ends early")
    return LearningCurve(tuple(by_frames), tuple(by_sparse), len(test))


class _Work:
    """The fits, and their errors."""

    def __init__(
        self, model: GAP, train: list[Any], n_alone: int, test: list[Any], seed: int, n_jobs: int | None
    ) -> None:
        self._settings = model.get_params(deep=False)
        if n_jobs is not None:
            self._settings["n_jobs"] = threads(n_jobs)
        self._train, self._n_alone, self._test, self._seed = train, n_alone, test, seed
        self._all: GAP | None = None

    def by_frames(self, sizes: Sequence[int], all_too: bool) -> Iterator[CurvePoint]:
        """Fits to the first frames, and with `all_too` also to all of them."""
        n_all = len(self._train) - self._n_alone
        for n in sorted({*sizes, *([n_all] if all_too else [])}):
            start = time.perf_counter()
            with warnings.catch_warnings():
                if n < max(*sizes, n_all if all_too else 0):
                    warnings.simplefilter("ignore", GapkitWarning)  # the largest fit says it
                fitted = GAP(**self._settings).fit(self._train[: self._n_alone + n], rng=self._seed)
            seconds = time.perf_counter() - start
            self._all = fitted if n == n_all else None
            yield self._point(fitted, n, seconds)

    def by_sparse(self, wanted: Sequence[int] | None) -> Iterator[CurvePoint]:
        """The fit to all frames on ever more of its sparse points."""
        if self._all is None:
            return
        n_frames, most = len(self._train) - self._n_alone, _n_sparse(self._all)
        if not _environments(self._all):
            return
        for n in _halved(most) if wanted is None else wanted:
            start = time.perf_counter()
            thinned = self._all.thinned(n) if n < most else self._all
            yield self._point(thinned, n_frames, time.perf_counter() - start)

    def _point(self, fitted: GAP, n_frames: int, seconds: float) -> CurvePoint:
        found = evaluate(fitted, self._test, progress=False)
        kinds = {kind: compared for kind in KINDS if (compared := found.comparison(kind)) is not None}
        mae = {kind: compared.mae for kind, compared in kinds.items()}
        rmse = {kind: compared.rmse for kind, compared in kinds.items()}
        return CurvePoint(n_frames, _n_sparse(fitted), mae, rmse, seconds)


def _nested(frames: Sequence[Any], keys: Keys, random: np.random.Generator) -> tuple[IntArray, int]:
    """An order of which every beginning is a good training set; single atoms come first, and how many these are."""
    elements = [set((f.numbers_e if isinstance(f, Frame) else f.numbers).tolist()) for f in frames]
    size_s = np.array([f.n_atoms if isinstance(f, Frame) else len(f) for f in frames])
    groups = [str(f.group if isinstance(f, Frame) else keys.find_extra(f, "group")) for f in frames]
    alone, rest = np.flatnonzero(size_s == 1), np.flatnonzero(size_s > 1)
    if not len(rest):
        raise DataError("There are no training frames beside single atoms", fix="give more frames")
    order = rest[spread(np.unique(groups, return_inverse=True)[1][rest], random)]
    seen, first = set[int](), list[int]()
    for s in order:
        if not elements[s] <= seen:
            first.append(int(s))
            seen |= elements[s]
    return np.array([*alone, *first, *(s for s in order if s not in first)], dtype=np.int64), len(alone)


def _sizes(given: Sequence[float] | None, n_all: int) -> list[int]:
    """Numbers of training frames in rising order."""
    if given is None:
        return _halved(n_all)
    found = set[int]()
    for size in given:
        if isinstance(size, numbers.Integral):
            found.add(whole("sizes", size, 1, n_all))
        elif isinstance(size, numbers.Real) and 0.0 < size <= 1.0:
            found.add(max(1, round(float(size) * n_all)))
        else:
            raise ConfigError(f"sizes has {size!r}", fix=f"give whole numbers from 1 to {n_all}, or shares up to 1.0")
    if not found:
        raise ConfigError("sizes is empty", fix="give at least one number of frames")
    return sorted(found)


def _wanted(model: GAP, given: Sequence[int]) -> list[int]:
    """Numbers of sparse points in rising order; checked before any fit."""
    terms: Sequence[Any] = model.terms or ()
    own: list[Any] = [term.n_sparse for term in terms if isinstance(term, SoapTerm | ACSFTerm)]
    most = None if not own or any(isinstance(n, Mapping) for n in own) else max(int(n) for n in own)
    return sorted({whole("n_sparse", n, 1, most) for n in given})


def _halved(n: int) -> list[int]:
    return sorted({max(min(_LEAST, n), round(n / 2**k)) for k in range(_HALVINGS + 1)})


def _environments(model: GAP) -> list[Any]:
    """Terms whose sparse points are environments of atoms."""
    return [t for t in model.state_.terms if all(len(channel) == 1 for channel in t.descriptor.channels)]


def _n_sparse(model: GAP) -> int:
    return max(term.n_columns for term in _environments(model) or model.state_.terms)
