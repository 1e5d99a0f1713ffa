"""Fewer sparse points for a fitted model, from its compressed data alone.

The rows of a structure on some of the sparse points are its rows on all of them without the other columns, and so are
their factors: no kernel between structures and sparse points is evaluated again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from gapkit._check import whole
from gapkit.errors import ConfigError, nearest
from gapkit.gp.compress import CompressedRows
from gapkit.gp.noise import Noise
from gapkit.gp.term import Channel, Origins, SparseTerm
from gapkit.model.fitting import prior_factor
from gapkit.model.state import ModelState, solved
from gapkit.model.terms import Term, first_delta
from gapkit.model.training import learned
from gapkit.numerics.factor import qr_triangle
from gapkit.typing import IntArray


def thinned(state: ModelState, n_sparse: int | Mapping[str, int], learn_noise: bool) -> ModelState:
    """The model on the first sparse points of each many-body term; see `GAP.thinned`."""
    if state.rows is None:
        raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
    kept, columns_m = kept_points(state.terms, n_sparse), staying(state.terms, n_sparse)
    each = zip(state.settings, state.terms, kept, strict=True)
    thinner = [_thinner(*one, n_sparse) for one in each]
    settings, terms = [s for s, _ in thinner], [t for _, t in thinner]
    rows = [of_columns(part, columns_m) for part in state.rows]
    used = {int(s) for term in terms for own in term.origins.values() for s in own.frame_m}
    draft = replace(
        state,
        settings=settings,
        terms=terms,
        prior_mm=prior_factor(terms),
        rows=rows,
        calibration=None,
        sources={s: source for s, source in state.sources.items() if s in used},
    )
    if "bound" in state.training or "moved" in state.training:  # scales of an earlier fit, which extend kept
        return solved(draft)
    terms = [t if s.delta is not None else replace(t, delta=first_delta("delta", None)) for s, t in thinner]
    start = Noise(groups=state.noise.groups) if learn_noise else state.noise
    scales = learned(settings, terms, prior_factor(terms), start, rows, learn_noise=learn_noise)
    return solved(replace(draft, noise=scales.noise, terms=scales.terms, prior_mm=scales.prior_mm))


def many_body(term: SparseTerm) -> bool:
    """Whether the sparse points of a term are environments of atoms."""
    return all(len(channel) == 1 for channel in term.descriptor.channels)


def kept_points(terms: Sequence[SparseTerm], n_sparse: int | Mapping[str, int]) -> list[dict[Channel, int]]:
    """How many points of each channel of each term stay.

    Raises
    ------
    ConfigError
        No term has environments; none has so many; fewer than one for each central species; an element that no term
        has.
    """
    ours = [term for term in terms if many_body(term)]
    if not ours:
        fix = "thin a model with a SoapTerm or an ACSFTerm"
        raise ConfigError("no term of the model has environments as sparse points", fix=fix)
    if isinstance(n_sparse, Mapping):
        known = {chemical_symbols[c[0]] for term in ours for c in term.points}
        for symbol in n_sparse:
            if symbol not in known:
                raise ConfigError(f"n_sparse names '{symbol}', which has no sparse points", fix=nearest(symbol, known))
            most = max(_counts(term).get(symbol, 0) for term in ours)
            whole(f"n_sparse['{symbol}']", n_sparse[symbol], 1, most)
    else:
        least = max(len(term.points) for term in ours)
        whole("n_sparse", n_sparse, least, max(term.n_columns for term in ours))
    everything = [{c: len(p.x_md) for c, p in term.points.items()} for term in terms]
    both = zip(terms, everything, strict=True)
    return [_shares(all_c, n_sparse) if many_body(term) else all_c for term, all_c in both]


def _counts(term: SparseTerm) -> dict[str, int]:
    """Points of each central species of a many-body term, by symbol."""
    return {chemical_symbols[c[0]]: len(p.x_md) for c, p in term.points.items()}


def _shares(all_c: Mapping[Channel, int], n_sparse: int | Mapping[str, int]) -> dict[Channel, int]:
    """Points of one many-body term that stay: one of each channel, and of all others an equal share."""
    if isinstance(n_sparse, Mapping):
        return {c: min(n, n_sparse.get(chemical_symbols[c[0]], n)) for c, n in all_c.items()}
    total = sum(all_c.values())
    if n_sparse >= total:
        return dict(all_c)
    # the first of each channel is the isolated atom, which holds its energy; largest remainders (Hare)
    share = (n_sparse - len(all_c)) / (total - len(all_c))
    exact = np.array([share * (n - 1) for n in all_c.values()])
    number = np.floor(exact).astype(int)
    lacking = n_sparse - len(all_c) - int(number.sum())
    for k in np.argsort(number - exact, kind="stable")[:lacking]:
        number[k] += 1
    return {c: 1 + int(n) for c, n in zip(all_c, number, strict=True)}


def staying(terms: Sequence[SparseTerm], n_sparse: int | Mapping[str, int]) -> IntArray:
    """Columns of the model that stay, ascending; errors as `kept_points`."""
    columns, first = [np.empty(0, dtype=np.int64)], 0
    for term, own in zip(terms, kept_points(terms, n_sparse), strict=True):
        columns += [first + here.start + np.arange(own[c]) for c, here in term.columns.items()]
        first += term.n_columns
    return np.concatenate(columns)


def of_columns(part: CompressedRows, columns_m: IntArray) -> CompressedRows:
    """Rows on some of the sparse points; the last column is that of the targets."""
    factor_nm = part.factor_nm[:, np.append(columns_m, part.factor_nm.shape[1] - 1)]
    if len(factor_nm) > factor_nm.shape[1]:
        factor_nm = qr_triangle(factor_nm)
    return replace(part, factor_nm=np.asfortranarray(factor_nm), open_nb=None)


def _thinner(
    settings: Term, term: SparseTerm, kept: Mapping[Channel, int], n_sparse: int | Mapping[str, int]
) -> tuple[Term, SparseTerm]:
    """Settings and points of one term. The space of the points stays, for the rows were made in it."""
    if all(kept[c] == len(p.x_md) for c, p in term.points.items()):
        return settings, term
    points: dict[Channel, Any] = {c: _first(p, kept[c]) for c, p in term.points.items()}
    origins = {c: Origins(o.frame_m[: kept[c]], o.atom_m[: kept[c]]) for c, o in term.origins.items()}
    changed: Any = copy(settings)
    if isinstance(n_sparse, Mapping) or isinstance(changed.n_sparse, Mapping):
        changed.n_sparse = {chemical_symbols[c[0]]: n for c, n in kept.items()}
    else:
        changed.n_sparse = sum(kept.values())
    return changed, replace(term, points=points, origins=origins)


def _first(points: Any, n: int) -> Any:
    """The first n sparse points of a channel."""
    return replace(points, x_md=np.ascontiguousarray(points.x_md[:n]))
