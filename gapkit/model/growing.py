"""More sparse points, and more elements, for a fitted term."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from gapkit.atoms.frame import Frame
from gapkit.descriptors.basis import SoapBasis
from gapkit.descriptors.embedding import chemical_vectors, resembling
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.wider import all_features, widened, with_scales
from gapkit.errors import ConfigError, GapkitWarning
from gapkit.gp.term import Channel, Origins, SparseTerm
from gapkit.gp.transfer import Grown
from gapkit.model.sparse import shares
from gapkit.model.terms import Term, isolated_frame, species_of
from gapkit.numerics.farthest import TOLERANCE, farthest_point
from gapkit.typing import FloatArray, IntArray

_ROWS = 1000  # of a table of distances
_ENOUGH = 10  # environments of an element; fewer may be all that there were, as in crystals, and cover nothing
_CANDIDATES = 3  # times as many environments as are wanted, of which those stay that are farthest from all old points


def grown(
    settings: Term,
    fitted: SparseTerm,
    frames: Sequence[Frame],
    n_sparse: int | Mapping[str, int] | None,
    first_frame: int,
    rng: np.random.Generator,
    pool: float,
    n_jobs: int,
) -> tuple[Term, Grown]:
    """Settings and term with sparse points of more structures, which may have more elements.

    Parameters
    ----------
    n_sparse
        New points of terms with environments, as in `SoapTerm`. None: for an element that is new the mean number of
        those that are known, for the others half of their own at most, where the old points do not reach.
    first_frame
        Index of the first of the frames in the fit, for the origins of the points.
    """
    species = sorted({*fitted.descriptor.species, *species_of(frames)})
    # one atom alone of each element that the frames lack: descriptors then know it, too
    more = [*frames, *(isolated_frame(z) for z in species if z not in species_of(frames))]
    wanted = _wanted(fitted, frames, n_sparse)
    wide = _wider_settings(settings, fitted, species, wanted)
    fresh = _fresh(wide, fitted, species, more, rng, pool, n_jobs)
    descriptor = with_scales(fitted.descriptor, fresh.descriptor)
    x: dict[Channel, FloatArray] = {}
    origins: dict[Channel, Origins] = {}
    for channel in descriptor.channels:
        old = fitted.points.get(channel)
        known = None if old is None else widened(all_features(old), channel, fitted.descriptor, descriptor)
        new = fresh.points.get(channel)
        found = None if new is None else widened(all_features(new), channel, fresh.descriptor, descriptor)
        if known is None and found is None:
            continue
        x[channel], rows = _united(known, found, wanted, channel, settings, n_sparse is None)
        if channel in fresh.origins or channel in fitted.origins:
            origins[channel] = _origins(fitted.origins.get(channel), fresh.origins.get(channel), rows, first_frame)
    points: Mapping[Channel, Any] = {c: descriptor.points(x_mf) for c, x_mf in x.items()}
    if isinstance(descriptor, Soap) and descriptor.alchemical:
        points = descriptor.shared_points(x)
    new_term = SparseTerm(fitted.name, descriptor, fitted.kernel, fitted.delta, points, origins)
    kept = {channel: len(own.x_md) for channel, own in fitted.points.items()}
    return _with_n_sparse(wide, settings, wanted), Grown(fitted, new_term, kept)


def unchanged(fitted: SparseTerm) -> Grown:
    """A term that keeps its sparse points."""
    return Grown(fitted, fitted, {channel: len(own.x_md) for channel, own in fitted.points.items()})


def _fresh(
    wide: Term,
    fitted: SparseTerm,
    species: Sequence[int],
    frames: Sequence[Frame],
    rng: np.random.Generator,
    pool: float,
    n_jobs: int,
) -> SparseTerm:
    """A term of the new structures alone; without points where no two or three of their atoms are in reach."""
    try:
        with warnings.catch_warnings():  # more candidates than there are distinct environments
            warnings.filterwarnings("ignore", message=".*sparse points wanted", category=GapkitWarning)
            return wide.choose(fitted.name, frames, rng, pool, n_jobs)
    except ConfigError:
        if all(len(channel) == 1 for channel in fitted.descriptor.channels):
            raise
        entry = {**wide.describe(fitted, {}), "species": [chemical_symbols[z] for z in species]}
        descriptor, kernel = wide.build(entry, {})
        return SparseTerm(fitted.name, descriptor, kernel, fitted.delta, {})


def _wanted(fitted: SparseTerm, frames: Sequence[Frame], n_sparse: int | Mapping[str, int] | None) -> dict[int, int]:
    """New points of each element that the frames have, by atomic number."""
    present = species_of(frames)
    if n_sparse is not None:
        return {c[0]: n for c, n in shares(n_sparse, [(z,) for z in present], frames).items()}
    own = {c[0]: len(points.x_md) for c, points in fitted.points.items() if len(c) == 1}
    mean = int(np.mean(list(own.values()))) if own else 0
    return {z: own[z] // 2 if z in own else mean for z in present}


def _wider_settings(settings: Term, fitted: SparseTerm, species: Sequence[int], wanted: Mapping[int, int]) -> Term:
    """The settings with all elements, and with more points to choose among than are wanted."""
    wide: Any = copy(settings)
    symbols = [chemical_symbols[z] for z in species]
    for name in ("soap", "acsf"):
        if hasattr(wide, name):
            spelt: Any = settings.settings(fitted)
            setattr(wide, name, {**spelt[name], "species": symbols})
            wide.n_sparse = {s: _CANDIDATES * wanted.get(z, 0) + 1 for s, z in zip(symbols, species, strict=True)}
            wide.method = "farthest_point"
    if hasattr(wide, "quotas"):
        wide.quotas = None
    compression = wide.soap["compression"] if hasattr(wide, "soap") else {}
    if weights := compression.get("species_weighting"):
        wide.soap["compression"] = {**compression, "species_weighting": dict.fromkeys(symbols, 1.0) | weights}
    if isinstance(fitted.descriptor, Soap) and len(species) > len(fitted.descriptor.basis.species):
        basis = fitted.descriptor.basis
        own = wide.embedding if isinstance(wide.embedding, Mapping) else {}
        if basis.embedding_sk is None and basis.mode == "off":
            wide.embedding = resembling(dict(zip(basis.species, np.eye(len(basis.species)), strict=True)), species)
        elif basis.embedding_sk is not None and np.linalg.matrix_rank(basis.embedding_sk) == len(basis.species):
            known = dict(zip(basis.species, basis.embedding_sk, strict=True))
            wide.embedding = own if _has_all(own, species) else resembling(known, species)
        elif basis.embedding_sk is not None:
            wide.embedding = {**_wider_embedding(basis, species), **own}
    return wide


def _has_all(vectors: Mapping[str, Any], species: Sequence[int]) -> bool:
    return all(chemical_symbols[z] in vectors for z in species)


def _wider_embedding(basis: SoapBasis, species: Sequence[int]) -> dict[str, list[float]]:
    """The vectors that elements have; a new one has that of the known element of most similar chemistry, moved as
    their chemistry differs, turned and scaled to the known vectors (orthogonal Procrustes: P. H. Schönemann,
    Psychometrika 31, 1 (1966))."""
    known, u_sk = list(basis.species), np.asarray(basis.embedding_sk)
    v_sk = chemical_vectors(species, min(u_sk.shape[1], len(species)))
    row = {z: s for s, z in enumerate(species)}
    own = [row[z] for z in known]
    left, _, right = np.linalg.svd(v_sk[own].T @ u_sk, full_matrices=False)
    map_kk = left @ right * np.linalg.norm(u_sk) / np.linalg.norm(v_sk[own])
    vectors = dict(zip(known, u_sk, strict=True))
    for z in species:
        if z not in vectors:
            near = int(np.argmax(v_sk[own] @ v_sk[row[z]]))
            vectors[z] = u_sk[near] + (v_sk[row[z]] - v_sk[own[near]]) @ map_kk
    return {chemical_symbols[z]: vectors[z].tolist() for z in species}


def _with_n_sparse(wide: Any, settings: Any, wanted: Mapping[int, int]) -> Term:
    """The wide settings, with the user's own number of points; by element, also those of new elements."""
    made = copy(wide)
    for name in ("n_sparse", "method", "quotas"):
        if hasattr(made, name):
            setattr(made, name, getattr(settings, name))
    if isinstance(getattr(made, "n_sparse", None), Mapping):
        made.n_sparse = {chemical_symbols[z]: max(1, n) for z, n in wanted.items()} | dict(made.n_sparse)
    return made


def _united(
    known: FloatArray | None,
    found: FloatArray | None,
    wanted: Mapping[int, int],
    channel: Channel,
    settings: Any,
    sparing: bool,
) -> tuple[FloatArray, IntArray]:
    """Old points, then new ones that differ from them; and which of those found were taken, -1 for old points.

    New distances and triangles, and with `sparing` environments, lie where the old ones do not reach. Between these, a
    function that vanishes on the old points has next to no prior variance, but no old data against it: summed over all
    triangles of a crystal it spoils what the model knew.
    """
    if found is None or known is None:
        own = found if known is None else known
        n = len(own) if own is not None else 0
        limit = n if known is not None or len(channel) > 1 else min(n, wanted.get(channel[0], 0) + 1)
        rows = np.arange(limit) if known is None else np.full(n, -1)
        return np.asarray(own)[:limit], rows
    if len(channel) == 2:
        taken = np.flatnonzero(found[:, 0] < known[:, 0].min() - 0.5 * _step(known))
    else:
        alone = len(channel) == 1
        n = len(known) + (wanted.get(channel[0], 0) if alone else len(found))
        full = sparing and len(known) >= _ENOUGH if alone else len(known) >= settings.n_sparse
        reach = _reach(known) if full else 0.0
        both = np.concatenate([known, found])
        longest = np.linalg.norm(both, axis=1).max()
        tolerance = min(max(TOLERANCE, reach / longest), 1.0 - TOLERANCE)
        picked = farthest_point(both, max(n, len(known)), 0, start=np.arange(len(known)), tolerance=tolerance)
        taken = picked[picked >= len(known)] - len(known)
    rows = np.concatenate([np.full(len(known), -1), taken])
    return np.concatenate([known, found[taken]]), rows


def _step(x_md: FloatArray) -> float:
    """Typical distance of neighbouring sparse distances."""
    return float(np.median(np.diff(np.sort(x_md[:, 0])))) if len(x_md) > 1 else 0.0


def _reach(x_md: FloatArray) -> float:
    """Distance within which points cover the data that they were taken from.

    Farthest points cover all others within the least distance between two of them.
    """
    if len(x_md) < 2:
        return 0.0
    square_m = np.einsum("md,md->m", x_md, x_md)
    least = np.inf
    for low in range(1, len(x_md), _ROWS):
        rows = slice(low, low + _ROWS)
        square_mm = square_m[rows, None] + square_m - 2.0 * x_md[rows] @ x_md.T
        square_mm[np.arange(len(x_md)) >= np.arange(len(x_md))[rows, None]] = np.inf
        least = min(least, float(square_mm.min()))
    return float(np.sqrt(max(least, 0.0)))


def _origins(old: Origins | None, fresh: Origins | None, rows: IntArray, first_frame: int) -> Origins:
    """Where the points of one channel come from."""
    frame_m, atom_m = np.full(len(rows), -2), np.full(len(rows), -1)
    if old is not None:
        frame_m[: len(old.frame_m)], atom_m[: len(old.atom_m)] = old.frame_m, old.atom_m
    if fresh is not None:
        new = np.flatnonzero(rows >= 0)
        own = fresh.frame_m[rows[new]]
        frame_m[new] = np.where(own >= 0, own + first_frame, own)
        atom_m[new] = fresh.atom_m[rows[new]]
    return Origins(frame_m, atom_m)


def moved_prior(terms: Sequence[Grown], delta_factor: float = 1.0) -> list[SparseTerm]:
    """The new terms, with every δ times a factor."""
    return [replace(t.new, delta=t.new.delta * delta_factor) for t in terms]
