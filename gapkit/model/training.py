"""The way from labelled structures to a model, and what of its settings the data decide."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.baselines.base import Baseline
from gapkit.baselines.cohesion import Cohesion
from gapkit.baselines.zbl import ZBL
from gapkit.errors import ConfigError, GapkitWarning
from gapkit.gp.evidence import learn_baseline_scales, learn_deltas, learn_scale
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import UNSOLVED
from gapkit.model.defaults import default_terms
from gapkit.model.fitting import compress, isolated_rows, left_out, prior_factor, sigmas_of
from gapkit.model.known import OfElements, completed, is_open, known_of, with_scale
from gapkit.model.memory import pool_bytes
from gapkit.model.settings import name_of
from gapkit.model.state import ModelState, solved, sources_of
from gapkit.model.terms import Term, species_of
from gapkit.numerics.factor import jittered_cholesky

_ROUNDS = 3  # of learning one scale after the other, where there are several


def trained(
    data: Sequence[Frame],
    terms: Sequence[Term] | None,
    noise: Noise,
    baselines: Sequence[Baseline] | None,
    e0: Mapping[str | int, float] | None,
    *,
    charges: str,
    learn_noise: bool,
    random: np.random.Generator,
    n_jobs: int,
    ceiling: float,
) -> ModelState:
    """A model of labelled structures; see `GAP` for the settings.

    Parameters
    ----------
    charges
        Name of the array with the charges of structures.
    learn_noise
        Whether `noise` is multiplied by a factor from the data.
    ceiling
        Bytes of memory.
    """
    species = species_of(data)  # an energy given for another element does not make the model know it
    settings = default_terms(data) if terms is None else list(terms)
    if not settings:
        raise ConfigError("the model has no terms", fix="give SoapTerm or PairTerm, or terms=None for defaults")
    complete = [b.prepared(data) for b in (default_baselines(terms is None) if baselines is None else baselines)]
    found, found_b, known = known_of(data, complete, e0)
    pool = pool_bytes(ceiling)
    chosen = [term.choose(name_of(term, k), data, random, pool, n_jobs) for k, term in enumerate(settings)]
    rows = compress(data, chosen, known, noise, n_jobs, ceiling)
    draft = ModelState(
        settings=deepcopy(settings),
        terms=chosen,
        noise=noise,
        e0={z: e for z, e in found.e0.items() if z in species},
        baselines=complete,
        prior_mm=prior_factor(chosen),
        posterior=UNSOLVED,
        rows=[isolated_rows(chosen, species, len(found_b)), *rows],
        hashes=np.array([f.hash for f in data], dtype=np.uint64),
        training={"frames": len(data), "atoms": sum(f.n_atoms for f in data), "left_out": left_out(data, noise)},
        sources=sources_of(data, chosen),
        charges=charges,
    )
    return solved(with_scales(draft, found, found_b, learn_noise))


def default_baselines(chosen_terms: bool) -> list[Baseline]:
    """A repulsion at short distances; with default terms, which must be safe, also the cohesion of bound atoms."""
    return [ZBL(), Cohesion()] if chosen_terms else [ZBL()]


def with_scales(
    draft: ModelState, found: OfElements, found_b: Sequence[OfElements], learn_noise: bool
) -> ModelState:
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
    free = [term.delta is None for term in draft.settings]
    raw, noise, terms, prior_mm = draft.rows or (), draft.noise, list(draft.terms), draft.prior_mm
    rows, scales_b = list(raw), np.zeros(len(found_b))
    for _ in range(_ROUNDS if bool(found_b) + learn_noise + any(free) > 1 else 1):
        scales_b = learn_baseline_scales(prior_mm, *sigmas_of(raw, noise), len(found_b))
        rows = [part.minus(scales_b) for part in raw]
        if learn_noise:
            noise = learn_scale(prior_mm, rows, draft.noise)
        if any(free):
            bare = [jittered_cholesky(term.covariance())[0] for term in terms]
            deltas = learn_deltas(bare, [t.delta for t in terms], free, *sigmas_of(rows, noise))
            terms = [replace(t, delta=delta) for t, delta in zip(terms, deltas, strict=True)]
            prior_mm = prior_factor(terms)
    for b, scale in zip(filter(is_open, draft.baselines), scales_b, strict=True):
        if not scale:
            what = f"The data give the baseline '{b.kind}' the scale 0: it plays no part in the model."
            warnings.warn(f"{what} Fix: leave it out, or correct what it assumes.", GapkitWarning, stacklevel=4)
    scales = iter(scales_b)
    baselines = [with_scale(b, float(next(scales))) if is_open(b) else b for b in draft.baselines]
    for scale, own in zip(scales_b, found_b, strict=True):
        found = found.minus(own, float(scale))
    e0 = {z: found.e0[z] for z in draft.e0}
    baselines = completed(baselines, found)
    return replace(draft, noise=noise, terms=terms, prior_mm=prior_mm, rows=rows, baselines=baselines, e0=e0)
