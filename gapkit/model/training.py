"""The way from labelled structures to a model, and what of its settings the data decide."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols

from gapkit.baselines.base import Baseline
from gapkit.baselines.isolated import not_isolated
from gapkit.errors import warn
from gapkit.gp.compress import CompressedRows
from gapkit.gp.evidence import learn_baseline_scales, learn_deltas, learn_scale
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import UNSOLVED
from gapkit.gp.term import SparseTerm
from gapkit.kernels.polynomial import DotProduct
from gapkit.model.fitting import compress_each, isolated_rows, left_out, prior_factor, sigmas_of
from gapkit.model.kept import KeptRows
from gapkit.model.known import OfElements, OpenScale, completed, is_open, with_scale
from gapkit.model.memory import pool_bytes
from gapkit.model.prepared import Prepared
from gapkit.model.settings import name_of
from gapkit.model.state import ModelState, solved, sources_of
from gapkit.model.terms import Term, species_of
from gapkit.numerics.factor import jittered_cholesky
from gapkit.typing import FloatArray, IntArray

_ROUNDS = 3  # of learning one scale after the other, where there are several


def trained(
    data: Prepared,
    each: Sequence[Sequence[Term]],
    noise: Noise,
    *,
    learn_noise: bool,
    random: np.random.Generator,
    n_jobs: int,
    ceiling: float,
    keep: KeptRows | None = None,
) -> list[tuple[ModelState, KeptRows | None]]:
    """Models of labelled structures, and the rows of these; see `GAP` for the settings.

    Parameters
    ----------
    each
        Terms of each model. Those that differ in ζ or δ alone, at the same place, share the work.
    learn_noise
        Whether `noise` is multiplied by a factor from the data.
    ceiling
        Bytes of memory.
    keep
        Takes the rows of the structures; None: they are forgotten.
    """
    pool, made = pool_bytes(ceiling), []
    for settings in each:
        own = deepcopy(random)  # all models draw the same
        made.append([data.choose(name_of(term, k), term, own, pool, n_jobs) for k, term in enumerate(settings)])
    random.bit_generator.state = own.bit_generator.state
    terms, columns = side_by_side(made)
    all_rows = compress_each(data.frames, terms, columns, data.known, noise, n_jobs, ceiling, keep=keep)
    found = []
    for settings, chosen, columns_m, rows in zip(each, made, columns, all_rows, strict=True):
        state = _solved(data, settings, chosen, noise, rows, learn_noise)
        found.append((state, None if keep is None else keep.some(columns_m, state.terms)))
    return found


def side_by_side(each: Sequence[Sequence[SparseTerm]]) -> tuple[list[SparseTerm], list[IntArray]]:
    """All terms of some models, those of one place together and none twice; and the columns of each model."""
    terms: list[SparseTerm] = []
    place: dict[tuple[int, int], int] = {}  # of the term at a place of a model
    for k in range(max(map(len, each))):
        here: list[int] = []
        for model, own in enumerate(each):
            if k < len(own):
                twin = next((t for t in here if _same_columns(terms[t], own[k])), len(terms))
                if twin == len(terms):
                    terms.append(own[k])
                    here.append(twin)
                place[model, k] = twin
    first = np.cumsum([0] + [term.n_columns for term in terms])
    columns = []
    for model, own in enumerate(each):
        mine = [place[model, k] for k in range(len(own))]
        columns.append(np.concatenate([np.arange(first[t], first[t + 1]) for t in mine]))
    return terms, columns


def _same_columns(one: SparseTerm, other: SparseTerm) -> bool:
    """Whether two terms differ in δ alone."""
    if isinstance(one.kernel, DotProduct) and isinstance(other.kernel, DotProduct):
        return one.points is other.points and one.kernel.zeta == other.kernel.zeta
    return one is other


def _solved(
    data: Prepared,
    settings: Sequence[Term],
    chosen: Sequence[SparseTerm],
    noise: Noise,
    rows: Sequence[CompressedRows],
    learn_noise: bool,
) -> ModelState:
    """The model of some terms with its scales learned."""
    frames, found = data.frames, data.found
    species = species_of(frames)  # an energy given for another element does not make the model know it
    draft = ModelState(
        settings=deepcopy(list(settings)),
        terms=chosen,
        noise=noise,
        e0={z: e for z, e in found.e0.items() if z in species},
        baselines=data.complete,
        prior_mm=prior_factor(chosen),
        posterior=UNSOLVED,
        rows=[isolated_rows(chosen, species, len(data.found_b)), *rows],
        hashes=np.array([f.hash for f in frames], dtype=np.uint64),
        training={
            "frames": len(frames),
            "atoms": sum(f.n_atoms for f in frames),
            "left_out": left_out(frames, noise),
            "guessed": sorted(not_isolated(frames, data.e0)),
            "unused_e0": {chemical_symbols[z]: e for z, e in found.e0.items() if z not in species},
        },
        sources=sources_of(frames, chosen),
        keys=data.keys,
    )
    return solved(with_scales(draft, found, data.found_b, learn_noise))


def with_scales(draft: ModelState, found: OfElements, found_b: Sequence[OfElements], learn_noise: bool) -> ModelState:
    """The model with the scales that were left open, at the maximum of the evidence.

    Parameters
    ----------
    draft
        A model that is not solved yet, whose rows have a column for each baseline of open scale.
    found, found_b
        Energies of elements without these baselines, and what one unit of each takes from them.
    learn_noise
        Whether σ gets a factor from the data.
    """
    scales = learned(
        draft.settings,
        draft.terms,
        draft.prior_mm,
        draft.noise,
        draft.rows or (),
        n_open=len(found_b),
        learn_noise=learn_noise,
    )
    ours = filter(is_open, draft.baselines)
    open_b = [OpenScale(baseline, 0.0, own) for baseline, own in zip(ours, found_b, strict=True)]
    draft = replace(draft, noise=scales.noise, terms=scales.terms, prior_mm=scales.prior_mm, open_b=open_b)
    return rescaled(draft, found, scales.scales_b)


def rescaled(draft: ModelState, found: OfElements, scales_b: FloatArray) -> ModelState:
    """The model with scales of its open baselines.

    Parameters
    ----------
    draft
        A model whose rows have a column for each of them.
    found
        Energies of elements that go with the scales it has.
    scales_b
        Factors of their energies at scale 1.
    """
    now_b, changed = [], dict[int, Baseline]()
    for one, factor in zip(draft.open_b, map(float, scales_b), strict=True):
        if not factor:
            what = f"The data give the baseline '{one.baseline.kind}' the scale 0: it plays no part in the model."
            warn(f"{what} Fix: leave it out, or correct what it assumes.")
        found = found.minus(one.taken, factor - one.factor)
        now_b.append(replace(one, baseline=with_scale(one.baseline, factor), factor=factor))
        changed[id(one.baseline)] = now_b[-1].baseline
    baselines = completed([changed.get(id(b), b) for b in draft.baselines], found)
    e0, rows = {z: found.e0[z] for z in draft.e0}, [part.minus(scales_b) for part in draft.rows or ()]
    return replace(draft, rows=rows, baselines=baselines, e0=e0, open_b=now_b)


@dataclass(frozen=True, eq=False)
class Scales:
    """What the evidence says of scales.

    Attributes
    ----------
    noise
        σ of the labels.
    terms
        The terms with their δ.
    prior_mm
        Upper triangular factor of K_mm/δ² with these.
    scales_b
        Factors of the baselines of open scale, shape (B,).
    """

    noise: Noise
    terms: Sequence[SparseTerm]
    prior_mm: FloatArray
    scales_b: FloatArray


def learned(
    settings: Sequence[Term],
    terms: Sequence[SparseTerm],
    prior_mm: FloatArray,
    noise: Noise,
    rows: Sequence[CompressedRows],
    *,
    n_open: int = 0,
    learn_noise: bool,
) -> Scales:
    """The scales that were left open, at the maximum of the evidence.

    Parameters
    ----------
    settings, terms
        δ is learned where the settings have none, from that of the terms.
    prior_mm
        Upper triangular factor of K_mm/δ².
    noise
        First σ of each kind; `learn_noise`: whether it gets a factor from the data.
    rows
        Compressed data, with `n_open` columns of baselines of open scale.
    """
    free, start = [term.delta is None for term in settings], noise
    terms, rows, raw, scales_b = list(terms), list(rows), rows, np.zeros(n_open)
    for _ in range(_ROUNDS if bool(n_open) + learn_noise + any(free) > 1 else 1):
        scales_b = learn_baseline_scales(prior_mm, *sigmas_of(raw, noise), n_open)
        rows = [part.minus(scales_b) for part in raw]
        if learn_noise:
            noise = learn_scale(prior_mm, rows, start)
        if any(free):
            bare = [jittered_cholesky(term.covariance())[0] for term in terms]
            deltas = learn_deltas(bare, [t.delta for t in terms], free, *sigmas_of(rows, noise))
            terms = [replace(t, delta=delta) for t, delta in zip(terms, deltas, strict=True)]
            prior_mm = prior_factor(terms)
    return Scales(noise, terms, prior_mm, scales_b)
