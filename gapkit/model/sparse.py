"""Choice of sparse points among the environments of many structures."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit._check import whole
from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import read_frames, to_frames
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.base import Descriptor
from gapkit.errors import ConfigError, DataError, nearest
from gapkit.gp.term import ISOLATED, UNKNOWN, Origins
from gapkit.model.parallel import ordered_map
from gapkit.numerics.select import METHODS, POOL_BYTES, select
from gapkit.typing import BoolArray, FloatArray, IntArray

Channel = tuple[int, ...]


class Environments(NamedTuple):
    """Some environments of one channel: descriptors, shape (E, F), structure and atom (see `Origins`), shape (E,)."""

    x_ef: FloatArray
    frame_e: IntArray
    atom_e: IntArray

    @classmethod
    def of_a_file(cls, x_ef: FloatArray) -> Environments:
        """Descriptors of unknown origin."""
        return cls(x_ef, np.full(len(x_ef), UNKNOWN, dtype=np.int64), np.full(len(x_ef), -1, dtype=np.int64))

    def take(self, rows: IntArray) -> Environments:
        """Some of them."""
        return Environments(self.x_ef[rows], self.frame_e[rows], self.atom_e[rows])

    def origins(self, n_isolated: int) -> Origins:
        """Where they come from as sparse points, of which the isolated atom, if it is one, comes first."""
        frame_m = np.concatenate([np.full(n_isolated, ISOLATED, dtype=np.int64), self.frame_e])
        return Origins(frame_m, np.concatenate([np.full(n_isolated, -1, dtype=np.int64), self.atom_e]))


def shares(
    n_sparse: int | Mapping[str, int], channels: Sequence[Channel], frames: Sequence[Frame]
) -> dict[Channel, int]:
    """Number of sparse points of each central species that occurs in the frames."""
    counts = np.zeros(len(chemical_symbols), dtype=np.int64)
    for frame in frames:
        counts += np.bincount(frame.numbers_e, minlength=len(counts))
    present = [c for c in channels if counts[c[0]]]
    if isinstance(n_sparse, Mapping):
        for symbol in n_sparse:
            if atomic_numbers.get(symbol) not in {c[0] for c in present}:
                known = [chemical_symbols[c[0]] for c in present]
                raise ConfigError(f"n_sparse names '{symbol}', which is not in the data", fix=nearest(symbol, known))
        named = {c: chemical_symbols[c[0]] for c in present}
        return {c: whole(f"n_sparse['{symbol}']", n_sparse.get(symbol, 0), 1) for c, symbol in named.items()}
    total = whole("n_sparse", n_sparse, 1)
    weight = np.sqrt([counts[c[0]] for c in present])
    exact = total * weight / weight.sum()
    number = np.maximum(1, np.floor(exact)).astype(int)
    for k in np.argsort(np.floor(exact) - exact, kind="stable")[: max(0, total - number.sum())]:
        number[k] += 1
    return {c: int(n) for c, n in zip(present, number, strict=True)}


def choose_environments(
    descriptor: Descriptor,
    wanted: Mapping[Channel, int],
    frames: Sequence[Frame],
    method: str | os.PathLike[str],
    quotas: Mapping[str, float] | None,
    rng: np.random.Generator,
    known: Mapping[Channel, FloatArray],
    pool_bytes: float = POOL_BYTES,
    n_jobs: int = 1,
    name: str = "",
) -> dict[Channel, Environments]:
    """Sparse points of each channel.

    Parameters
    ----------
    known
        Vectors that are sparse points already, shape (K, F): they are not chosen again.
    method
        A name of `gapkit.numerics.select.METHODS`, or a file (see `SoapTerm`).
    pool_bytes
        Descriptors of candidate environments are kept below this, by drawing among them.
    n_jobs
        Threads over structures.
    name
        That of the term, for a warning.
    """
    if not isinstance(method, (str, os.PathLike)):
        raise ConfigError(f"method={method!r} is no name", fix=nearest(str(method), METHODS) + ", or give a file")
    if str(method) not in METHODS:
        if quotas:
            raise ConfigError("quotas do not apply to sparse points from a file", fix="leave quotas or the file out")
        return {c: Environments.of_a_file(x) for c, x in _from_file(descriptor, Path(method), wanted).items()}
    pool, group_s = _candidates(descriptor, wanted, frames, rng, pool_bytes, n_jobs), [f.group for f in frames]
    chosen = {}
    for channel, n in wanted.items():
        own = pool[channel].take(np.flatnonzero(_differ(pool[channel].x_ef, known[channel])))
        groups = np.array(group_s)[own.frame_e]
        here = None if quotas is None else _quotas_here(quotas, set(groups.tolist()), set(group_s))
        of = f"{name or 'the term'}, {chemical_symbols[channel[0]]}"
        chosen[channel] = own.take(select(own.x_ef, n, str(method), rng, groups, here, of)) if len(groups) else own
    return chosen


def _quotas_here(quotas: Mapping[str, float], here: set[str], everywhere: set[str]) -> dict[str, float]:
    """Quotas without the groups that have no environment of this channel; groups of no frame stay, as an error."""
    return {group: quota for group, quota in quotas.items() if group in here or group not in everywhere}


def _differ(x_ef: FloatArray, known_kf: FloatArray) -> BoolArray:
    """Which rows differ from all known ones by more than rounding, shape (E,)."""
    new = np.ones(len(x_ef), dtype=bool)
    for known_f in known_kf:
        near = np.flatnonzero(x_ef @ known_f >= (1.0 - 1e-6) * (known_f @ known_f))  # rows that may agree
        new[near] &= np.linalg.norm(x_ef[near] - known_f, axis=1) > 1e-9
    return new


def _candidates(
    descriptor: Descriptor,
    wanted: Mapping[Channel, int],
    frames: Sequence[Frame],
    rng: np.random.Generator,
    pool_bytes: float = POOL_BYTES,
    n_jobs: int = 1,
) -> dict[Channel, Environments]:
    """At most as many environments per channel as fit into the pool."""
    keep: dict[Channel, np.ndarray] = {}
    for channel, n in wanted.items():
        total = sum(int((f.numbers_e == channel[0]).sum()) for f in frames)
        width = _width(descriptor, channel, frames)
        most = max(4 * n, int(pool_bytes / (8 * width * len(wanted))))
        mask = np.ones(total, dtype=bool)
        if total > most:
            mask[:] = False
            mask[rng.choice(total, most, replace=False)] = True
        keep[channel] = mask
    tasks, seen = [], dict.fromkeys(wanted, 0)
    for s, frame in enumerate(frames):
        chosen_e = np.zeros(frame.n_atoms, dtype=bool)
        for channel in wanted:
            own = np.flatnonzero(frame.numbers_e == channel[0])
            chosen_e[own] = keep[channel][seen[channel] : seen[channel] + len(own)]
            seen[channel] += len(own)
        if chosen_e.any():
            tasks.append((s, chosen_e))
    parts: dict[Channel, list[Environments]] = {c: [] for c in wanted}

    def features(task: tuple[int, BoolArray]) -> list[tuple[Channel, FloatArray, IntArray]]:
        return _features(descriptor, list(wanted), frames[task[0]], task[1])

    for (s, _), found in zip(tasks, ordered_map(features, tasks, n_jobs), strict=True):
        for channel, x_sd, atom_s in found:
            parts[channel].append(Environments(x_sd, np.full(len(x_sd), s, dtype=np.int64), atom_s))
    return {c: Environments(*map(np.concatenate, zip(*own, strict=True))) for c, own in parts.items()}


def _features(
    descriptor: Descriptor, channels: Sequence[Channel], frame: Frame, chosen_e: BoolArray
) -> list[tuple[Channel, FloatArray, IntArray]]:
    """Descriptors and atoms of the chosen centres of a frame, by channel."""
    pairs = NeighbourList(descriptor.reach).pairs(frame).of_centres(chosen_e)
    blocks = ((c, block) for c in channels for block in descriptor.pairs_of(pairs, c).blocks(256))
    sites = ((c, descriptor.sites(block, c)) for c, block in blocks if len(block.centres_e))
    return [(c, own.x_sd, own.centre_s) for c, own in sites]


def _width(descriptor: Descriptor, channel: Channel, frames: Sequence[Frame]) -> int:
    """Number of features of a channel, from the first atom that has it."""
    frame = next(f for f in frames if (f.numbers_e == channel[0]).any())
    first = np.zeros(frame.n_atoms, dtype=bool)
    first[int(np.argmax(frame.numbers_e == channel[0]))] = True
    pairs = NeighbourList(descriptor.reach).pairs(frame).of_centres(first)
    return descriptor.sites(descriptor.pairs_of(pairs, channel), channel).x_sd.shape[1]


def _from_file(descriptor: Descriptor, path: Path, wanted: Mapping[Channel, int]) -> dict[Channel, FloatArray]:
    """All sparse points that a file holds: descriptor values, or structures."""
    if not path.is_file():
        raise ConfigError(
            f"'{path}' is neither a selection method nor a file", fix=nearest(str(path), METHODS) + ", or give a file"
        )
    if path.suffix not in (".npy", ".npz"):
        frames = to_frames(read_frames(path), where=path.name, labels=False)
        everything = {c: sum(int((f.numbers_e == c[0]).sum()) for f in frames) for c in wanted}
        lacking = [chemical_symbols[c[0]] for c, n in everything.items() if not n]
        if lacking:
            raise DataError(f"no environments of {', '.join(lacking)}", where=path.name, fix="add structures with them")
        pool = _candidates(descriptor, everything, frames, np.random.default_rng(0))
        return {c: own.x_ef for c, own in pool.items()}
    try:
        content = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        arrays = {chemical_symbols[c[0]]: content for c in wanted} if path.suffix == ".npy" else dict(content)
    except (ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(
            f"cannot be read as an array: {error}", where=path.name, fix="save it with numpy.save"
        ) from error
    chosen = {}
    for channel in wanted:
        symbol = chemical_symbols[channel[0]]
        if symbol not in arrays or (path.suffix == ".npy" and len(wanted) > 1):
            raise DataError(f"no array for {symbol}", where=path.name, fix="save an .npz with one array per symbol")
        real = arrays[symbol].dtype.kind in "fiu"
        x = arrays[symbol].astype(float) if real else np.empty(0)
        if x.ndim != 2 or not np.isfinite(x).all() or not len(x) or not np.linalg.norm(x, axis=1).all():
            raise DataError(
                f"the array for {symbol} is not a finite matrix of descriptors",
                where=path.name,
                fix="one row per point",
            )
        chosen[channel] = x / np.linalg.norm(x, axis=1)[:, None]
    return chosen
