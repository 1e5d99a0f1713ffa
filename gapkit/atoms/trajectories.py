"""Which frames belong to one molecular-dynamics run, and a split into training and validation that respects it."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit._check import generator, whole
from gapkit.atoms.alone import is_isolated
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.atoms.labels import USUAL_KEYS, to_frames
from gapkit.atoms.related import related
from gapkit.errors import ConfigError, DataError, warn
from gapkit.numerics.partition import folds, holdout
from gapkit.typing import BoolArray, IntArray, Rng

_NAMED: Final = 3  # runs that a warning names


def trajectories(frames: Iterable[Atoms] | Iterable[Frame], *, keys: Keys = USUAL_KEYS) -> IntArray:
    """The trajectory of each frame, shape (S,): labels 0 … T-1 in order of first appearance.

    Frames are of one trajectory if they have the same atoms in the same order, periodicity and config_type, cells that
    differ by less than 10 % strain, and one of these holds (`gapkit.atoms.related` has the numbers):

    * Nine tenths of the atoms of a crystal are near the same sites: all thermal snapshots and strains of one crystal
      are one trajectory, also shuffled ones and those of several runs.
    * Successive frames of a liquid remember each other: their atoms have moved clearly less than at random.
    * Successive frames of a molecule are alike, and the file is in order of time.

    Shuffled samples of a molecule, and frames of a liquid that have forgotten each other, are independent: each is a
    trajectory of its own.

    Parameters
    ----------
    frames
        Structures in the order of their files; not changed. Labels are not needed.
    keys
        Which name in `info` is the config_type.

    Raises
    ------
    DataError, SpeciesError
        What `Frame` refuses.
    """
    return _trajectories(*_structures(frames, keys))


def split(
    frames: Iterable[Any],
    fraction: float = 0.2,
    *,
    groups: Sequence[Any] | None = None,
    keys: Keys = USUAL_KEYS,
    rng: Rng = 0,
) -> tuple[list[Any], list[Any]]:
    """Split into training and validation frames; frames of one trajectory are on one side.

    Every config_type that is large enough is on both sides, isolated atoms are for training, and so is each element
    that validation has. A trajectory that is larger than the fraction of its config_type can hold is cut into a few
    contiguous blocks, with a warning.

    Parameters
    ----------
    frames
        `ase.Atoms` or `Frame`, in the order of their files; not changed.
    fraction
        Share of the frames for validation, 0 < fraction < 1.
    groups
        The trajectory of each frame by any names, if you know it. None: `trajectories`.
    keys
        Which name in `info` is the config_type.
    rng
        Generator or seed of the draw.

    Returns
    -------
    The same objects as two lists, (training, validation), each in the given order.

    Raises
    ------
    ConfigError, DataError
        A fraction outside its range, groups of another number; frames that cannot be split.
    """
    structures: list[Any] = list(frames)
    train, validation = split_indices(structures, fraction, groups=groups, keys=keys, rng=rng)
    return [structures[s] for s in train], [structures[s] for s in validation]


def split_indices(
    frames: Iterable[Any],
    fraction: float = 0.2,
    *,
    groups: Sequence[Any] | None = None,
    keys: Keys = USUAL_KEYS,
    rng: Rng = 0,
) -> tuple[IntArray, IntArray]:
    """`split` as indices of training and validation frames, in rising order."""
    number = isinstance(fraction, numbers.Real) and not isinstance(fraction, bool)
    if not number or not 0.0 < float(fraction) < 1.0:
        raise ConfigError(f"fraction={fraction!r} is no share of the frames", fix="give 0 < fraction < 1, such as 0.2")
    data, group_s = _structures(frames, keys)
    run_s, stratum_s = _runs(data, group_s, groups), _strata(data, group_s)
    has_sz = _elements(data)
    held_s, cut = holdout(run_s, stratum_s, float(fraction), generator(rng), _sole(has_sz, run_s))
    _keep_elements(has_sz, run_s, held_s)
    if not held_s.any():
        what = f"{len(data)} frames of {run_s.max() + 1} trajectories cannot be split"
        raise DataError(what, fix="give more frames, or the trajectory of each in groups")
    _tell(run_s, group_s, [run for run in cut if held_s[run_s == run].any()])
    return np.flatnonzero(~held_s), np.flatnonzero(held_s)


class TrajectoryKFold:
    """Folds for scikit-learn's `cv=`, in which frames of one trajectory are in one fold.

    As in `split`, config_types are spread over the folds, and isolated atoms always train, as does a trajectory with an
    element that no other has. A trajectory that is clearly larger than a fold can hold of its config_type is cut, with
    a warning, into contiguous blocks, from one for each fold to three where it is long, which are dealt to the folds.

    For instance ``cross_val_score(GAP(), frames, cv=TrajectoryKFold(3))``; without blocks nearly the same is
    ``cross_val_score(GAP(), frames, cv=GroupKFold(3), groups=trajectories(frames))``.

    Parameters
    ----------
    n_splits
        Number of folds, at least 2.
    keys
        Which name in `info` is the config_type. None: the usual one.
    rng
        Seed of the draw.
    """

    def __init__(self, n_splits: int = 5, *, keys: Keys | None = None, rng: int = 0) -> None:
        self.n_splits = whole("n_splits", n_splits, least=2)
        self.keys = keys
        self.rng = rng

    def split(self, X: Iterable[Any], y: Any = None, groups: Any = None) -> Iterable[tuple[IntArray, IntArray]]:
        """Indices of training and test frames of each fold.

        Parameters
        ----------
        X
            `ase.Atoms` or `Frame`, in the order of their files.
        y
            Ignored.
        groups
            The trajectory of each frame, if you know it. None: `trajectories`.
        """
        data, group_s = _structures(X, self.keys or USUAL_KEYS)
        run_s = _runs(data, group_s, groups)
        sole_s = _sole(_elements(data), run_s)
        fold_s, cut = folds(run_s, _strata(data, group_s), self.n_splits, generator(self.rng), sole_s)
        if len(np.unique(fold_s[fold_s >= 0])) < self.n_splits:
            what = f"{len(data)} frames of {run_s.max() + 1} trajectories do not fill {self.n_splits} folds"
            raise DataError(what, fix="give fewer folds, or more frames")
        _tell(run_s, group_s, cut)
        for k in range(self.n_splits):
            yield np.flatnonzero(fold_s != k), np.flatnonzero(fold_s == k)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def __repr__(self) -> str:
        return f"TrajectoryKFold(n_splits={self.n_splits}, rng={self.rng})"


def _structures(frames: Iterable[Any], keys: Keys) -> tuple[list[Frame], list[str]]:
    """Checked structures without labels, and their config_types."""
    given = list(frames) if isinstance(frames, Iterable) and not isinstance(frames, Atoms) else frames
    data = to_frames(given, keys=keys, labels=False)
    named = [a.group if isinstance(a, Frame) else keys.find_extra(a, "group") for a in given]
    return data, ["default" if group is None else str(group) for group in named]


def _trajectories(frames: Sequence[Frame], group_s: Sequence[str]) -> IntArray:
    families: dict[tuple[str, bytes, bytes], list[int]] = {}
    for s, (frame, group) in enumerate(zip(frames, group_s, strict=True)):
        families.setdefault((group, frame.pbc_c.tobytes(), frame.numbers_e.tobytes()), []).append(s)
    first_s = np.zeros(len(frames), dtype=np.int64)  # the first frame of the trajectory of each
    for members in map(np.array, families.values()):
        first_s[members] = members[related([frames[s] for s in members])]
    return np.unique(first_s, return_inverse=True)[1].astype(np.int64)


def _runs(frames: Sequence[Frame], group_s: Sequence[str], groups: Sequence[Any] | None) -> IntArray:
    """The trajectories that were given, or those that are found."""
    if groups is None:
        return _trajectories(frames, group_s)
    if len(groups) != len(frames):
        raise ConfigError(f"groups has {len(groups)} entries for {len(frames)} frames", fix="give one per frame")
    known: dict[Any, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups], dtype=np.int64)


def _strata(frames: Sequence[Frame], group_s: Sequence[str]) -> IntArray:
    """A number for each config_type, -1 for isolated atoms."""
    known: dict[str, int] = {}
    return np.array(
        [-1 if is_isolated(f) else known.setdefault(g, len(known)) for f, g in zip(frames, group_s, strict=True)]
    )


def _elements(frames: Sequence[Frame]) -> BoolArray:
    """Which elements each frame has, by atomic number."""
    has_sz = np.zeros((len(frames), len(chemical_symbols)), dtype=bool)
    for s, frame in enumerate(frames):
        has_sz[s, frame.numbers_e] = True
    return has_sz


def _sole(has_sz: BoolArray, run_s: IntArray) -> BoolArray:
    """Which frames have an element that no other trajectory has."""
    sole_s = np.zeros(len(run_s), dtype=bool)
    for has_s in has_sz.T[has_sz.any(axis=0)]:
        if len(set(run_s[has_s])) == 1:
            sole_s |= has_s
    return sole_s


def _keep_elements(has_sz: BoolArray, run_s: IntArray, held_s: BoolArray) -> None:
    """Give training the smallest part of validation that has an element which training lacks, until none is."""
    while True:
        lacking = np.flatnonzero(has_sz[held_s].any(axis=0) & ~has_sz[~held_s].any(axis=0))
        if not len(lacking):
            return
        runs, sizes = np.unique(run_s[held_s & has_sz[:, lacking[0]]], return_counts=True)
        held_s[run_s == runs[sizes.argmin()]] = False


def _tell(run_s: IntArray, group_s: Sequence[str], cut: Sequence[int]) -> None:
    """Warn of trajectories that were cut."""
    if not cut:
        return
    named = []
    for run in cut[:_NAMED]:
        own = np.flatnonzero(run_s == run)
        named.append(f"{len(own)} frames of '{group_s[own[0]]}' from frame {own[0]} on")
    more = f" and {len(cut) - _NAMED} more" if len(cut) > _NAMED else ""
    what = f"A trajectory is too large for one side and was cut into blocks ({'; '.join(named)}{more})"
    fix = "frames at the edges of blocks have relatives on the other side; add independent frames, or give groups"
    warn(f"{what}. Fix: {fix}.")
