"""One model with many settings of the noise, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gapkit.errors import ConfigError
from gapkit.gp.compress import CompressedRows
from gapkit.gp.likelihood import Part
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import solve
from gapkit.model.fitting import require_kinds, sigma_of, sigmas_of, training_errors
from gapkit.model.parallel import one_blas_thread
from gapkit.model.state import ModelState

_Sigmas = Sequence[float | None]


def refitted(state: ModelState, noises: Sequence[Noise]) -> Iterator[ModelState]:
    """The model with each noise; see `GAP.refits`.

    Rows whose σ have the same ratio in all of them are folded together first, so that a solve costs little where groups
    do not have noises of their own.
    """
    if state.rows is None:
        raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
    for noise in noises:
        require_kinds(state.training["left_out"], noise)
    rows = state.rows
    table = [[sigma_of(noise, part.key) for noise in noises] for part in rows]
    with one_blas_thread():
        folded = _folded(rows, table)
    for k, noise in enumerate(noises):
        used, _ = sigmas_of(rows, noise)
        now = [(part, s) for part, sigmas in folded if (s := sigmas[k]) is not None]
        with one_blas_thread():
            posterior = solve(state.prior_mm, [part for part, _ in now], [s for _, s in now])
        training = {name: value for name, value in state.training.items() if name != "evidence"}
        training["errors"] = training_errors(used, posterior.weights_m)
        yield replace(state, noise=noise, posterior=posterior, training=training, calibration=None)


def _folded(rows: Sequence[CompressedRows], table: Sequence[_Sigmas]) -> list[tuple[CompressedRows, _Sigmas]]:
    """Factors of rows that are one for every noise, and the σ of each by noise."""
    sets: dict[tuple[float, ...], list[int]] = {}
    for p, sigmas in enumerate(table):
        unit = next((s for s in sigmas if s is not None), 1.0)
        ratios = tuple(-1.0 if s is None else float(np.round(s / unit, 12)) for s in sigmas)
        sets.setdefault(ratios, []).append(p)
    found: list[tuple[CompressedRows, _Sigmas]] = []
    for ratios, own in sets.items():
        units = [next((s for s in table[p] if s is not None), 1.0) for p in own]
        part = Part([rows[p] for p in own], units).folded()
        whole = CompressedRows(rows[own[0]].key, part.factor_nm, part.n_rows, part.log_scale)
        found.append((whole, [None if r < 0.0 else r for r in ratios]))
    return found
