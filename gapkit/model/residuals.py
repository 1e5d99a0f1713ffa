"""Errors of structures that a model was not fitted to, or as if it had not been, with the variance it gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.isolated import is_isolated
from gapkit.errors import ConfigError, DataError
from gapkit.gp.compress import Observations, labelled, observations
from gapkit.gp.design import frame_rows
from gapkit.gp.noise import Noise, own_sigma
from gapkit.gp.posterior import Posterior, solve
from gapkit.model.fitting import EXACT, sigma_of, sigmas_of
from gapkit.model.known import total
from gapkit.model.spread import Spread, aleatoric, combined, energy_spread, require_room, species_of_rows, spreads
from gapkit.model.state import ModelState
from gapkit.model.workers import shared_map
from gapkit.numerics.factor import whiten
from gapkit.typing import KINDS, FloatArray, IntArray, Kind


@dataclass(frozen=True, eq=False)
class Residuals:
    """Errors of one kind of property, and the variances that the model gave them.

    A row is an atom with its C = 3 force components (eV/Å), or a structure with its energy per atom (C = 1, eV/atom)
    or its stress (C = 6, eV/Å³).

    Attributes
    ----------
    error_xc
        Predicted minus true, shape (X, C).
    data_xc, prior_xc
        Posterior variance: what the data leave, and what the sparse points do not span.
    std_xc
        Standard deviation that the model gave, calibrated where it is.
    aleatoric_x
        σ of the label by the model's `Noise`, shape (X,).
    frame_x
        Index of the structure, shape (X,).
    atom_x
        Index of the atom, shape (X,); -1 where the row is a structure.
    species_x
        Atomic number, shape (X,); 0 where the row is a structure.
    """

    error_xc: FloatArray
    data_xc: FloatArray
    prior_xc: FloatArray
    std_xc: FloatArray
    aleatoric_x: FloatArray
    frame_x: IntArray
    atom_x: IntArray
    species_x: IntArray

    @property
    def rms_error_x(self) -> FloatArray:
        """Root mean square of the components of the error, shape (X,)."""
        return np.sqrt(np.mean(self.error_xc**2, axis=1))

    @property
    def rms_std_x(self) -> FloatArray:
        """The same of the standard deviation."""
        return np.sqrt(np.mean(self.std_xc**2, axis=1))


class Task(NamedTuple):
    """One structure, and whether it is to be taken out of the fit first."""

    frame: Frame
    kinds: frozenset[Kind]
    left_out: bool
    max_memory: float


def residuals(
    state: ModelState, frames: Sequence[Frame], n_jobs: int, max_memory: float, *, left_out: bool = False
) -> dict[Kind, Residuals]:
    """Residuals of all labels of some structures, by kind.

    Parameters
    ----------
    left_out
        The frames are training frames, and each is judged by the model without its labels. With H = Φ A⁻¹ Φᵀ of its
        rows Φ in units of σ, errors are (I - H)⁻¹ times those of the fit, and the data part of the covariance is
        (I - H)⁻¹ - I (block form of Rasmussen & Williams, Gaussian Processes for Machine Learning, eq. 5.12, for the
        weights of the sparse points, which stay). Only kinds of label that were in the fit.
    """
    tasks = [Task(f, kinds_to_judge(state, f, left_out), left_out, max_memory) for f in frames if not is_isolated(f)]
    index = [s for s, f in enumerate(frames) if not is_isolated(f)]
    parts: dict[Kind, list[Residuals]] = {kind: [] for kind in KINDS}
    for s, found in zip(index, shared_map(_of_frame, state, tasks, n_jobs, per_process=8), strict=True):
        for kind, own in found.items():
            parts[kind].append(replace(own, frame_x=np.full(len(own.frame_x), s)))
    return {kind: joined(own) for kind, own in parts.items() if own}


def kinds_to_judge(state: ModelState, frame: Frame, left_out: bool) -> frozenset[Kind]:
    """Kinds of label to judge: all, or those that were in the fit."""
    if not left_out:
        return frozenset(frame.kinds)
    own = {kind for kind in frame.kinds if own_sigma(frame, kind) is not None}
    return frozenset(own | {kind for kind in frame.kinds if state.noise.sigma(frame.group, kind) is not None})


def joined(parts: Sequence[Residuals]) -> Residuals:
    """Several sets of residuals of one kind, one after the other."""
    return Residuals(*(np.concatenate([getattr(p, name) for p in parts]) for name in Residuals.__dataclass_fields__))


def _of_frame(state: ModelState, task: Task) -> dict[Kind, Residuals]:
    """Residuals of one structure; its index is not known here."""
    frame = task.frame
    kinds = labelled(frame, task.kinds)
    require_room(state, frame, {f"{kind}_std" for kind in kinds}, task.max_memory)
    pairs = NeighbourList(state.reach).pairs(frame)
    rows = frame_rows(state.terms, pairs, kinds)
    spread = spreads(state, frame, pairs, rows, kinds, task.max_memory)
    if "energy" in kinds:
        spread["energy"] = energy_spread(state, frame, rows.energy_m, [pairs])
    found: dict[Kind, Residuals] = {}
    known = total(state.baselines, state.e0, frame, kinds, pairs, state.reach)
    seen = list(observations(frame, rows, known, sorted(kinds)))
    weights_m = state.posterior.weights_m
    errors = _left_out(state, seen) if task.left_out else [_Error(o.rows_nm @ weights_m - o.y_n) for o in seen]
    for one, error in zip(seen, errors, strict=True):
        found[one.key.kind] = _residuals(state, frame, one.key.kind, error, spread[one.key.kind])
    return found


class _Error(NamedTuple):
    """Predicted minus true of the rows of one kind, and the data part of the variance where it is not the model's."""

    error_n: FloatArray
    data_n: FloatArray | None = None


def scaled_errors(posterior: Posterior, noise: Noise, seen: Sequence[Observations]) -> FloatArray:
    """Errors of the rows of some structures over σ, shape (n,), by the posterior without these rows."""
    rows_nm, y_n, _ = _in_sigmas(noise, seen)
    error_n = rows_nm @ posterior.weights_m - y_n
    if len(rows_nm) <= rows_nm.shape[1]:
        return cho_solve(_complement(whiten(posterior.data_mm, rows_nm)), error_n)
    known_nm = whiten(posterior.data_mm, rows_nm)  # (1 - W Wᵀ)⁻¹ = 1 + W (1 - Wᵀ W)⁻¹ Wᵀ (Woodbury)
    return error_n + known_nm @ cho_solve(_complement(known_nm.T), known_nm.T @ error_n)


def _in_sigmas(noise: Noise, seen: Sequence[Observations]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows and targets in units of σ, and σ."""
    sigma_n = sigma_of_rows(noise, seen)
    rows_nm = np.concatenate([o.rows_nm for o in seen]) / sigma_n[:, None]
    return rows_nm, np.concatenate([o.y_n for o in seen]) / sigma_n, sigma_n


def sigma_of_rows(noise: Noise, seen: Sequence[Observations]) -> FloatArray:
    """σ of each row, shape (n,)."""
    return np.concatenate([o.divisor_n * (sigma_of(noise, o.key) or 1.0) for o in seen])


def _complement(known_nm: FloatArray) -> tuple[FloatArray, bool]:
    """Cholesky factor of I - H with H = W Wᵀ of whitened rows W. DataError where that has no digits left."""
    rest_nn = np.eye(len(known_nm)) - known_nm @ known_nm.T
    try:
        factor: tuple[FloatArray, bool] = cho_factor(rest_nn, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:  # H is I to rounding
        what = "What the fit says about a frame rests on its own labels alone: it cannot be left out"
        raise DataError(what, fix="give its labels a larger σ, or add frames like it") from error
    return factor


def _left_out(state: ModelState, seen: Sequence[Observations]) -> list[_Error]:
    """What the model without these rows says about them."""
    rows_nm, _, sigma_n = _in_sigmas(state.noise, seen)
    error_n = sigma_n * scaled_errors(state.posterior, state.noise, seen)
    factor = _complement(whiten(state.posterior.data_mm, rows_nm))
    data_n = sigma_n**2 * (np.diagonal(cho_solve(factor, np.eye(len(rows_nm)))) - 1.0)
    edges = np.cumsum([len(o.y_n) for o in seen])[:-1]
    return [_Error(*parts) for parts in zip(np.split(error_n, edges), np.split(data_n, edges), strict=True)]


def _residuals(state: ModelState, frame: Frame, kind: Kind, error: _Error, spread: Spread) -> Residuals:
    """The rows of one kind of a frame, in the units of `Residuals`."""
    used: slice | IntArray = slice(None)
    if kind == "forces" and frame.force_mask_e is not None:
        used = np.flatnonzero(frame.force_mask_e)
    spread = Spread(spread.data_xc[used], spread.prior_xc[used])
    unit = {"energy": frame.n_atoms, "forces": 1.0, "stress": frame.volume}[kind]
    if error.data_n is not None:
        spread = Spread(error.data_n.reshape(spread.data_xc.shape) / unit**2, spread.prior_xc)
    species_x = species_of_rows(frame, kind)[used]
    return Residuals(
        error_xc=error.error_n.reshape(spread.data_xc.shape) / unit,
        data_xc=spread.data_xc,
        prior_xc=spread.prior_xc,
        std_xc=combined(state, frame, kind, spread, species_x),
        aleatoric_x=np.full(len(species_x), aleatoric(state, frame, kind)),
        frame_x=np.zeros(len(species_x), dtype=np.int64),
        atom_x=np.arange(frame.n_atoms)[used] if kind == "forces" else np.full(1, -1),
        species_x=species_x,
    )


def leave_one_out(
    state: ModelState, frames: Sequence[Frame], by: str, n_jobs: int, max_memory: float
) -> dict[Kind, Residuals]:
    """Residuals of training frames as if each, or each config_type, had not been in the fit.

    Raises
    ------
    DataError
        A frame was not in the fit.
    ConfigError
        A whole config_type is to be left out of a model without compressed data, or of one that has no other.
    """
    require_trained_on(state, frames)
    if by == "frame":
        return residuals(state, frames, n_jobs, max_memory, left_out=True)
    parts: dict[Kind, list[Residuals]] = {}
    for group in sorted({f.group for f in frames}):
        own = [s for s, f in enumerate(frames) if f.group == group]
        for kind, found in residuals(without_group(state, group), [frames[s] for s in own], n_jobs, max_memory).items():
            parts.setdefault(kind, []).append(replace(found, frame_x=np.array(own)[found.frame_x]))
    return {kind: joined(parts[kind]) for kind in KINDS if kind in parts}


def require_trained_on(state: ModelState, frames: Sequence[Frame]) -> None:
    """DataError for a frame that was not in the fit, or that cannot be taken out of it."""
    known = {int(number) for number in state.hashes}
    bound = {int(number) for number in state.hashes[: int(state.training.get("bound", 0))]}
    for s, frame in enumerate(frames):
        where = frame.where or f"frame {s}"
        if frame.hash not in known:
            raise DataError("The frame was not in the fit", where=where, fix="give the training frames themselves")
        if frame.hash in bound:
            what = "The labels of the frame are bound to the sparse points of an earlier fit"
            raise DataError(what, where=where, fix="give frames that were added later, or extend with old_frames")


def without_group(state: ModelState, group: str) -> ModelState:
    """The model without the labels of one config_type; its sparse points stay."""
    if state.rows is None:
        raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
    rows = [part for part in state.rows if part.key.group != group]
    if all(part.key == EXACT for part in rows):
        what = f"all frames of the fit are of config_type '{group}'"
        raise ConfigError(what, fix="leave out single frames, by='frame'")
    return replace(state, posterior=solve(state.prior_mm, *sigmas_of(rows, state.noise)))
