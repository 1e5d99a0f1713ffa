"""Honest standard deviations: scales fitted to errors of structures that the model has not seen, and a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from ase import Atoms

from gapkit import GAP, Calibration, ConfigError, DataError, Frame, Residuals, Scale
from gapkit._check import generator
from gapkit.errors import warn
from gapkit.numerics import stats
from gapkit.typing import KINDS, FloatArray, IntArray, Kind, Rng
from gapkit.uncertainty.curve import best_scale, folds, taken

LEAST_FRAMES: Final = 5
USUAL_FRAMES: Final = 20
LEAST_ROWS: Final[dict[Kind, int]] = {"energy": 10, "forces": 100, "stress": 10}
"""Structures, or atoms, that carry a knot of a curve."""
SPECIES_ATOMS: Final = 100
"""Fewest atoms for which a species gets a scale of its own."""
SPECIES_FRAMES: Final = 10
"""Fewest structures that they come from."""
DEGENERATE: Final = 1e-4
"""Share of the rms of u below which u is rounding, and the value zero by symmetry."""
NOTHING: Final = 1e-6
"""eV/Å; all forces of which the model is so sure are zero by symmetry."""
SAMPLES: Final = 3000
LEVELS: Final = tuple(k / 20 for k in range(1, 20))
"""Probabilities of the central intervals of ``observed_coverage``."""
BIASED: Final = (0.67, 1.5)
UNRANKED: Final = 0.3


def calibrate(
    model: GAP, frames: Iterable[Atoms] | Iterable[Frame], *, leave_one_out: bool = False, rng: Rng = 0
) -> Calibration:
    """Find what makes the model's standard deviations agree with its errors, and let its predictions use it.

    The raw u² of a value is the data part of its posterior variance. σ² is a rising function of u, squared: for forces
    one of each species with 100 atoms or more, else one for all. Its form (a factor, or up to 8 knots) is the one that
    held-out errors favour, in five folds over structures (`gapkit.uncertainty.curve.best_scale`). Where the part that
    sparse points do not span exceeds its largest value here, the same share of that is added that errors have of it
    here at most. Values that are zero by symmetry are left out.

    Parameters
    ----------
    model
        A fitted model. Its `calibration_` is set; one that it had before has no influence.
    frames
        Labelled structures, 5 or more, better 20: none of the fit, or with `leave_one_out` only such.
    leave_one_out
        Judge each training structure by the model without it, and again by the model without its config_type, which
        shows errors far from the data; all these errors count alike. The latter needs the compressed data of the fit
        and a second config_type.
    rng
        Generator or seed of the folds and of the choice of samples.

    Returns
    -------
    The calibration, also found as ``model.calibration_``. Its `report` holds for each kind, all from five-fold held-out
    σ, never from the fit itself: ``n_values``, ``n_frames``; ``rms_error``, ``rms_std``, ``crps`` (eV/atom, eV/Å,
    eV/Å³); ``coverage_68``, ``coverage_95`` (of components, by the central intervals of 68.27 % and 95 %);
    ``observed_coverage`` at the levels 0.05, 0.10 … 0.95; ``nll``; ``miscalibration_area``; ``spearman`` (rms σ against
    rms error of atoms or structures); ``ratio_by_sigma`` (rms error over rms σ, in up to ten equal parts from small to
    large σ); ``knots`` of the scale for all species.

    Raises
    ------
    DataError
        Fewer than 5 structures, or none with labels; structures of the fit without `leave_one_out`, or others with it.
    NotFittedError, SpeciesError

    Warns
    -----
    GapkitWarning
        Where σ should not be trusted: few structures, large σ biased, errors not ranked, config_types not left out.
    """
    if isinstance(frames, Atoms):
        raise DataError("One Atoms object was given instead of a list", fix="give 5 or more structures")
    data, random = list(frames), generator(rng)
    if len(data) < LEAST_FRAMES:
        what = f"{len(data)} frames are too few to calibrate with"
        raise DataError(what, fix="give 5 or more, or use leave-one-out with the training frames")
    found = _left_out(model, data) if leave_one_out else _held_out(model, data)
    scales: dict[Kind, dict[int, Scale]] = {}
    report: dict[str, dict[str, Any]] = {}
    samples: dict[Kind, FloatArray] = {}
    for kind in KINDS:
        rows = _usable(found[kind], kind) if kind in found else None
        if rows is None:
            continue
        scales[kind] = scales_of(kind, rows, random)
        std_xc = _held_out_std(kind, rows, random)
        report[kind] = _report(rows, std_xc, scales[kind][Calibration.ALL])
        samples[kind] = _samples(rows, std_xc, random)
        _warn(kind, report[kind])
    if not scales:
        raise DataError("No label can be calibrated", fix="give 5 or more frames with energy, forces or stress")
    model.calibration_ = Calibration(scales, report, samples)
    return model.calibration_


def _held_out(model: GAP, data: Sequence[Any]) -> dict[Kind, Residuals]:
    """Residuals of structures none of which was in the fit."""
    known = [s for s, yes in enumerate(model.trained_on(data)) if yes]
    if known:
        where = getattr(data[known[0]], "where", "") or f"frame {known[0]}"
        what = f"{len(known)} of {len(data)} frames were in the fit, the first of them"
        fix = "use leave-one-out (leave_one_out=True, --leave-one-out) with training frames only, or remove them"
        raise DataError(what, where=where, fix=fix)
    return model.residuals(data)


def _left_out(model: GAP, data: Sequence[Any]) -> dict[Kind, Residuals]:
    """Residuals of training structures without themselves, and without their config_type where that is possible."""
    found = model.leave_one_out(data)
    try:
        apart = model.leave_one_out(data, by="config_type")
    except ConfigError as error:
        what = f"only single frames were left out, since {error.what}: far from the data σ is extrapolated"
        warn(what)
        return found
    return {kind: _joined(rows, apart[kind]) for kind, rows in found.items()}


def _joined(one: Residuals, other: Residuals) -> Residuals:
    return Residuals(*(np.concatenate([getattr(r, f.name) for r in (one, other)]) for f in fields(Residuals)))


def _usable(rows: Residuals, kind: Kind) -> Residuals | None:
    """The rows that are not zero by symmetry; None, with a warning, where they come from too few structures."""
    u_x = np.sqrt(np.mean(rows.data_xc, axis=1))
    free = u_x > DEGENERATE * np.sqrt(np.mean(u_x**2))
    if kind == "forces":
        free &= u_x**2 + np.mean(rows.prior_xc, axis=1) > NOTHING**2
    rows = taken(rows, free)
    n_frames = len(np.unique(rows.frame_x))
    if n_frames >= LEAST_FRAMES:
        return rows
    what = f"{kind}: not calibrated, since only {n_frames} frames have values that can be compared"
    warn(what)
    return None


def _own_scale(rows: Residuals) -> list[int]:
    """Species with enough atoms; none where there is but one, or where rows are structures."""
    species = [int(z) for z in np.unique(rows.species_x)]
    if len(species) < 2:
        return []
    return [z for z in species if _is_enough(taken(rows, rows.species_x == z))]


def _is_enough(rows: Residuals) -> bool:
    atoms = np.unique(np.stack([rows.frame_x, rows.atom_x], axis=1), axis=0)  # one left out twice counts once
    return len(atoms) >= SPECIES_ATOMS and len(np.unique(rows.frame_x)) >= SPECIES_FRAMES


def scales_of(
    kind: Kind, rows: Residuals, rng: np.random.Generator, species: Sequence[int] | None = None
) -> dict[int, Scale]:
    """The scale for all rows of a kind, and those of the given species (None: of all that have enough atoms)."""
    least = LEAST_ROWS[kind]
    scales = {Calibration.ALL: best_scale(rows, least, rng)}
    for number in _own_scale(rows) if species is None else species:
        own = taken(rows, rows.species_x == number)
        if len(np.unique(own.frame_x)) > 1:
            scales[number] = best_scale(own, least, rng)
    return scales


def _held_out_std(kind: Kind, rows: Residuals, rng: np.random.Generator) -> FloatArray:
    """σ of every component, shape (X, C), by scales that were chosen and fitted without the structures of its fold."""
    std_xc, fold_x, species = np.empty_like(rows.error_xc), folds(rows.frame_x, rng), _own_scale(rows)
    for fold in np.unique(fold_x):
        out = fold_x == fold
        made = Calibration({kind: scales_of(kind, taken(rows, ~out), rng, species)})
        std_xc[out] = made.std(kind, rows.species_x[out], rows.data_xc[out], rows.prior_xc[out])
    return std_xc


def _report(rows: Residuals, std_xc: FloatArray, scale: Scale) -> dict[str, Any]:
    """What `calibrate` says of one kind."""
    error_xc, error_x, std_x = rows.error_xc, rows.rms_error_x, np.sqrt(np.mean(std_xc**2, axis=1))
    n_ranges = int(np.clip(len(std_x) // 20, 1, 10))
    return {
        "n_values": int(error_xc.size),
        "n_frames": len(np.unique(rows.frame_x)),
        "rms_error": float(np.sqrt(np.mean(error_xc**2))),
        "rms_std": float(np.sqrt(np.mean(std_xc**2))),
        "coverage_68": stats.coverage(error_xc, std_xc, 0.6827),
        "coverage_95": stats.coverage(error_xc, std_xc, 0.95),
        "nll": stats.nll(error_xc, std_xc),
        "crps": stats.crps(error_xc, std_xc),
        "miscalibration_area": stats.miscalibration_area(error_xc, std_xc),
        "spearman": stats.spearman(std_x, error_x),
        "knots": len(scale.raw_k),
        "ratio_by_sigma": stats.ratios(error_x, std_x, n_ranges).tolist(),
        "observed_coverage": [stats.coverage(error_xc, std_xc, level) for level in LEVELS],
    }


def _samples(rows: Residuals, std_xc: FloatArray, rng: np.random.Generator) -> FloatArray:
    """σ and error of some rows, shape (at most 3000, 2)."""
    pairs = np.stack([np.sqrt(np.mean(std_xc**2, axis=1)), rows.rms_error_x], axis=1)
    chosen: IntArray = rng.permutation(len(pairs))[:SAMPLES]
    return pairs[np.sort(chosen)]


def _warn(kind: Kind, report: dict[str, Any]) -> None:
    """Say where σ should not be trusted."""
    ratio, rho, n_frames = report["ratio_by_sigma"][-1], report["spearman"], report["n_frames"]
    if n_frames < USUAL_FRAMES:
        what = f"{kind}: only {n_frames} frames to calibrate with, σ may be wrong by tens of per cent"
        warn(what)
    if not BIASED[0] <= ratio <= BIASED[1]:
        what = f"{kind}: large σ is biased: where σ is largest, the rms error is {ratio:.2f} times the rms σ"
        warn(what)
    if rho < UNRANKED:
        what = f"{kind}: σ hardly tells large errors from small ones (Spearman {rho:.2f})"
        warn(what)
