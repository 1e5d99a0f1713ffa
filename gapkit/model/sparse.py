"""Choice of sparse points among the environments of many structures."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit._check import whole
from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import read_frames, to_frames
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.base import Descriptor
from gapkit.errors import ConfigError, DataError, nearest
from gapkit.model.parallel import ordered_map
from gapkit.numerics.select import METHODS, POOL_BYTES, select
from gapkit.typing import BoolArray, FloatArray

Channel = tuple[int, ...]


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
) -> dict[Channel, FloatArray]:
    """Descriptor vectors of the sparse points of each channel, shape (M, F).

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
    """
    if not isinstance(method, (str, os.PathLike)):
        raise ConfigError(f"method={method!r} is no name", fix=nearest(str(method), METHODS) + ", or give a file")
    if str(method) not in METHODS:
        if quotas:
            raise ConfigError("quotas do not apply to sparse points from a file", fix="leave quotas or the file out")
        return _from_file(descriptor, Path(method), wanted)
    pool, groups = _candidates(descriptor, wanted, frames, rng, pool_bytes, n_jobs)
    chosen = {}
    for channel, n in wanted.items():
        new = _differ(pool[channel], known[channel])
        x, own = pool[channel][new], np.array(groups[channel])[new]
        here = None if quotas is None else _quotas_here(quotas, set(own.tolist()), {f.group for f in frames})
        chosen[channel] = x[select(x, n, str(method), rng, own, here)] if len(x) else x
    return chosen


def _quotas_here(quotas: Mapping[str, float], here: set[str], everywhere: set[str]) -> dict[str, float]:
    """Quotas without the groups that have no environment of this channel; groups of no frame stay, as an error."""
    return {group: quota for group, quota in quotas.items() if group in here or group not in everywhere}


def _differ(x_ef: FloatArray, known_kf: FloatArray) -> BoolArray:
    """Which rows differ from all known ones by more than rounding, shape (E,)."""
    new = np.ones(len(x_ef), dtype=bool)
    for known_f in known_kf:
        near = np.flatnonzero(x_ef @ known_f > (1.0 - 1e-6) * (known_f @ known_f))  # unit vectors that may agree
        new[near] &= np.linalg.norm(x_ef[near] - known_f, axis=1) > 1e-9
    return new


def _candidates(
    descriptor: Descriptor,
    wanted: Mapping[Channel, int],
    frames: Sequence[Frame],
    rng: np.random.Generator,
    pool_bytes: float = POOL_BYTES,
    n_jobs: int = 1,
) -> tuple[dict[Channel, FloatArray], dict[Channel, list[str]]]:
    """Descriptors and groups of at most as many environments per channel as fit into the pool."""
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
    for frame in frames:
        chosen_e = np.zeros(frame.n_atoms, dtype=bool)
        for channel in wanted:
            own = np.flatnonzero(frame.numbers_e == channel[0])
            chosen_e[own] = keep[channel][seen[channel] : seen[channel] + len(own)]
            seen[channel] += len(own)
        if chosen_e.any():
            tasks.append((frame, chosen_e))
    rows: dict[Channel, list[FloatArray]] = {c: [] for c in wanted}
    groups: dict[Channel, list[str]] = {c: [] for c in wanted}

    def features(task: tuple[Frame, BoolArray]) -> list[tuple[Channel, FloatArray]]:
        return _features(descriptor, list(wanted), *task)

    for (frame, _), found in zip(tasks, ordered_map(features, tasks, n_jobs), strict=True):
        for channel, x_sd in found:
            rows[channel].append(x_sd)
            groups[channel] += [frame.group] * len(x_sd)
    return {c: np.concatenate(r) for c, r in rows.items()}, groups


def _features(
    descriptor: Descriptor, channels: Sequence[Channel], frame: Frame, chosen_e: BoolArray
) -> list[tuple[Channel, FloatArray]]:
    """Descriptors of the chosen centres of a frame, by channel."""
    pairs = NeighbourList(descriptor.reach).pairs(frame).of_centres(chosen_e)
    blocks = ((c, block) for c in channels for block in descriptor.pairs_of(pairs, c).blocks(256))
    return [(c, descriptor.sites(block, c).x_sd) for c, block in blocks if len(block.centres_e)]


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
        return _candidates(descriptor, everything, frames, np.random.default_rng(0))[0]
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
