"""σ of the labels, δ of the terms and scales of baselines of a fitted model at the maximum of the evidence."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.linalg import block_diag

from gapkit.errors import ConfigError, nearest
from gapkit.gp.compress import CompressedRows
from gapkit.gp.likelihood import Likelihood, Part
from gapkit.gp.noise import Noise
from gapkit.gp.optimum import maximized
from gapkit.model.fitting import sigmas_of
from gapkit.model.known import named, reopened
from gapkit.model.parallel import one_blas_thread
from gapkit.model.state import ModelState, solved
from gapkit.model.training import rescaled
from gapkit.typing import KINDS, FloatArray, Kind

_log = logging.getLogger(__name__)

BY: Final = ("kind", "group")

_USUAL_DELTA: Final = 1.0  # eV


@dataclass(frozen=True)
class EvidenceReport:
    """What `GAP.maximize_evidence` did.

    Attributes
    ----------
    sigma
        {kind, or "kind, config_type": σ before and after}, in the units of `Noise`. Where the groups of a kind keep
        their ratios, that of the group with most rows.
    delta
        {term: δ before and after}, eV.
    scale
        {baseline: scale before and after}, of those that the fit had found.
    log_evidence
        Before and after.
    evaluations
        Number of evaluations of the evidence.
    distance
        Largest distance of a log σ or log δ from the maximum, in its own standard error.
    converged
        Whether that is small enough.
    """

    sigma: Mapping[str, tuple[float, float]]
    delta: Mapping[str, tuple[float, float]]
    scale: Mapping[str, tuple[float, float]]
    log_evidence: tuple[float, float]
    evaluations: int
    distance: float
    converged: bool

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> EvidenceReport | None:
        """The report in what a model keeps of its training; None without one."""
        found = training.get("evidence")
        if found is None:
            return None
        kinds = ("sigma", "delta", "scale")  # models of before have no scales
        sigma, delta, scale = ({name: (a, b) for name, (a, b) in found.get(key, {}).items()} for key in kinds)
        before, after = found["log_evidence"]
        rest = {name: found[name] for name in ("evaluations", "distance", "converged")}
        return cls(sigma, delta, scale, (before, after), **rest)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        """A line for each σ, δ and scale."""
        sets = {"σ": self.sigma, "δ": self.delta, "scale of": self.scale}
        names = [*(f"{what} {name}" for what, own in sets.items() for name in own), "log evidence"]
        pairs = [*(pair for own in sets.values() for pair in own.values()), self.log_evidence]
        wide = max(map(len, names))
        lines = [f"{name:{wide}}  {a:12.6g} -> {b:.6g}" for name, (a, b) in zip(names, pairs, strict=True)]
        end = "converged" if self.converged else f"not converged: {self.distance:.2g} standard errors from the maximum"
        return "\n".join([*lines, f"{end} after {self.evaluations} evaluations"])


class _Varied(NamedTuple):
    """Rows whose σ are varied together: their name, kind, σ, and the rows with σ in units of it."""

    name: str
    kind: Kind
    sigma: float
    part: Part


def maximized_evidence(state: ModelState, sigma: str | None, delta: bool) -> ModelState:
    """The model with the most probable σ, δ and scales of baselines; see `GAP.maximize_evidence`."""
    if sigma is not None and sigma not in BY:
        raise ConfigError(f"sigma={sigma!r} does not exist", fix=f"{nearest(str(sigma), BY)}, or None")
    if sigma is None and not delta:
        raise ConfigError("neither σ nor δ are to be varied", fix="give sigma='kind', sigma='group' or delta=True")
    if state.rows is None:
        raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
    open_b = state.varied_b
    before_b = np.array([one.factor for one in open_b])
    rows = [part.plus(before_b) for part in state.rows] if open_b else state.rows
    used, sigmas = sigmas_of(rows, state.noise)
    varied, fixed = _parts(used, sigmas, sigma)
    deltas = [term.delta for term in state.terms]
    # the factors of the prior without δ: K is not made again
    priors = [state.prior_mm[own, own] * d for own, d in zip(state.slices, deltas, strict=True)]
    usual = Noise()
    with one_blas_thread():
        found = maximized(
            Likelihood(priors, [v.part for v in varied], fixed, len(open_b)),
            ([v.sigma for v in varied], deltas),
            ([getattr(usual, v.kind) for v in varied], [_USUAL_DELTA] * len(deltas)),
            [delta] * len(deltas),
        )
    pairs = [(v.sigma, float(s)) for v, s in zip(varied, found.sigma_g, strict=True)]
    moved = [(before, float(after)) for before, after in zip(deltas, found.delta_t, strict=True) if delta]
    scaled = _with_scales(state, rows, found.after.scales_b) if open_b else state
    report = EvidenceReport(
        sigma={v.name: pair for v, pair in zip(varied, pairs, strict=True)},
        delta={term.name: pair for term, pair in zip(state.terms, moved, strict=False)},
        scale=_scales(state, scaled),
        log_evidence=(state.posterior.log_evidence, found.after.log_evidence),
        evaluations=found.evaluations,
        distance=found.distance,
        converged=found.converged,
    )
    _log.info("evidence:\n%s", report)
    factors = {v.name: after / before for v, (before, after) in zip(varied, pairs, strict=True)}
    noise = state.noise if sigma is None else _noise(state.noise, used, factors, sigma)
    made = _with_deltas(scaled, found.delta_t.tolist()) if delta else scaled
    made = solved(replace(made, noise=noise, calibration=None))
    return replace(made, training={**made.training, "evidence": report.as_dict()})


def _parts(used: Sequence[CompressedRows], sigmas: Sequence[float], by: str | None) -> tuple[list[_Varied], Part]:
    """Rows whose σ are varied, together for each kind or one by one, and those that keep theirs."""
    both = list(zip(used, sigmas, strict=True))
    free = [(part, s) for part, s in both if by is not None and not part.key.own]
    fixed = [(part, s) for part, s in both if by is None or part.key.own]
    sets: dict[str, list[tuple[CompressedRows, float]]] = {}
    for part, s in sorted(free, key=lambda one: KINDS.index(one[0].key.kind)):
        sets.setdefault(_name(part, by), []).append((part, s))
    varied = []
    for name, own in sets.items():
        unit = max(own, key=lambda one: one[0].n_rows)[1]
        varied.append(_Varied(name, own[0][0].key.kind, unit, Part([p for p, _ in own], [s / unit for _, s in own])))
    return varied, Part([p for p, _ in fixed], [s for _, s in fixed])


def _name(part: CompressedRows, by: str | None) -> str:
    return part.key.kind if by == "kind" else f"{part.key.kind}, {part.key.group}"


def _noise(noise: Noise, used: Sequence[CompressedRows], factors: Mapping[str, float], by: str) -> Noise:
    """The noise with the σ that were found."""
    if by == "kind":
        return noise.scaled(factors)
    groups: dict[str, dict[str, float | None]] = {g: {**own} for g, own in (noise.groups or {}).items()}
    sigmas: dict[str, float | None] = {kind: getattr(noise, kind) for kind in KINDS}
    free = [part for part in used if not part.key.own]
    for kind in {part.key.kind for part in free}:
        parts = [part for part in free if part.key.kind == kind]
        values = [factors[_name(p, by)] * float(noise.sigma(p.key.group, kind) or 0.0) for p in parts]
        for part, learned in zip(parts, values, strict=True):
            groups.setdefault(part.key.group, {})[kind] = learned
        if sigmas[kind] is not None:  # of groups that are not in the data
            sigmas[kind] = float(np.sqrt(np.average(np.square(values), weights=[p.n_rows for p in parts])))
    return Noise(sigmas["energy"], sigmas["forces"], sigmas["stress"], groups or None)


def _with_scales(state: ModelState, rows: Sequence[CompressedRows], scales_b: FloatArray) -> ModelState:
    """The model with other scales of baselines; its rows have a column for each."""
    baselines, elements = reopened(state.baselines, state.e0)
    return rescaled(replace(state, rows=rows, baselines=baselines), elements, scales_b)


def _scales(before: ModelState, after: ModelState) -> dict[str, tuple[float, float]]:
    """The scales of baselines that were varied, by name."""
    names = {id(b): name for name, b in named(before.baselines)}
    both = zip(before.varied_b, after.open_b, strict=False)
    return {names[id(a.baseline)]: (_scale(a.baseline), _scale(b.baseline)) for a, b in both}


def _scale(baseline: Any) -> float:
    return float(baseline.scale)


def _with_deltas(state: ModelState, deltas: Sequence[float]) -> ModelState:
    """The model with other δ, in its settings, too, so that its file and a thinner model have them."""
    terms = [replace(term, delta=d) for term, d in zip(state.terms, deltas, strict=True)]
    ratios = [term.delta / d for term, d in zip(state.terms, deltas, strict=True)]
    blocks = [state.prior_mm[own, own] * r for own, r in zip(state.slices, ratios, strict=True)]
    settings = []
    for setting, d in zip(state.settings, deltas, strict=True):
        own = deepcopy(setting)
        own.delta = own.delta if own.delta is None else d
        settings.append(own)
    return replace(state, settings=settings, terms=terms, prior_mm=np.asfortranarray(block_diag(*blocks)))
