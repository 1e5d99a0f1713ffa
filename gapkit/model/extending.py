"""New data, new elements and other reference methods for a fitted model; and data taken out of it again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.isolated import is_isolated, isolated_energies, not_isolated, reference_energy
from gapkit.errors import ConfigError, DataError, warn
from gapkit.gp.compress import CompressedRows, Observations, RowKey, observations
from gapkit.gp.design import frame_rows
from gapkit.gp.noise import Noise, own_sigma
from gapkit.gp.transfer import Grown, Summary, carried, merged, without
from gapkit.model.difference import most_apt
from gapkit.model.fitting import EXACT, compress, isolated_rows, left_out, prior_factor
from gapkit.model.growing import grown, moved_prior, unchanged
from gapkit.model.known import Known, completed, known_by, known_of, total
from gapkit.model.memory import PREDICTION_BYTES, pool_bytes
from gapkit.model.predict import evaluate_many
from gapkit.model.state import ModelState, solved, sources_of
from gapkit.model.terms import isolated_frame, species_of

_log = logging.getLogger(__name__)

_SAME_ENERGY = 1e-6  # eV
_SAME_ISOLATED = 1e-3  # eV, of labels


def extended(
    state: ModelState,
    data: Sequence[Frame],
    old: Sequence[Frame] | None,
    e0: Mapping[str | int, float] | None,
    n_sparse: int | Mapping[str, int] | None,
    *,
    random: np.random.Generator,
    n_jobs: int,
    ceiling: float,
) -> ModelState:
    """The model of its own data and more; see `GAP.extend`."""
    known_hashes = set(state.hashes.tolist())
    for frame in data:
        if frame.hash in known_hashes and not is_isolated(frame):
            raise DataError("The frame is in the fit already", where=frame.where, fix="give only new frames")
    state, known = _with_elements(state, data, {**_unused(state, data), **_by_number(e0)})
    terms, settings = _grown(state, data, n_sparse, random, n_jobs, ceiling)
    new = [t.new for t in terms]
    before: Sequence[CompressedRows] = ()
    everything = data
    if old is not None:
        everything = [*_checked_old(state, old), *data]
        known = [*known_by(state.baselines, state.e0, old), *known]
        state = replace(state, training={**state.training, "bound": 0})
    else:
        if state.rows is None:
            before = [Summary(state.posterior).carried(terms, state.prior_mm).rows()]
            state = _summarised(state)
        else:
            before = carried([p for p in state.rows if p.key != EXACT], terms, state.prior_mm)
        if any(t.new.n_columns > t.old.n_columns for t in terms):
            state = _bound(state)
    fresh = compress(everything, new, known, state.noise, n_jobs, ceiling)
    return _joined(state, terms, settings, data, [*before, *fresh])


def fine_tuned(
    state: ModelState,
    data: Sequence[Frame],
    e0: Mapping[str | int, float] | None,
    n_sparse: int | Mapping[str, int] | None,
    difference: float | None,
    noise: Noise,
    keys: Keys,
    *,
    random: np.random.Generator,
    n_jobs: int,
    ceiling: float,
) -> ModelState:
    """The model moved to another reference method; see `GAP.fine_tune`."""
    state = replace(_with_reference(state, data, e0, n_jobs), noise=noise, keys=keys)
    terms = [unchanged(t) for t in state.terms]
    settings = list(state.settings)
    if n_sparse is not None:
        terms, settings = _grown(state, data, n_sparse, random, n_jobs, ceiling)
    known = known_by(state.baselines, state.e0, data)
    rows = compress(data, [t.new for t in terms], known, noise, n_jobs, ceiling)
    past = Summary(state.posterior).carried(terms, state.prior_mm)
    if difference is None:
        difference = most_apt(state, terms, data, known, rows, past)
        _log.info("prior σ of the difference: %.3g times that of the model", difference)
    state = _summarised(state)
    state = replace(state, training={**state.training, "moved": True, "unused_e0": {}})  # of the old method
    before = past.rows(difference)
    return _joined(state, terms, settings, data, [before, *rows], float(np.sqrt(1.0 + difference**2)))


def reduced(state: ModelState, data: Sequence[Frame]) -> ModelState:
    """The model without the labels of some of its frames; see `GAP.remove`."""
    if state.rows is None:
        raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
    hashes = state.hashes.tolist()
    bound = set(hashes[: int(state.training.get("bound", 0))])
    taken: dict[RowKey, list[Observations]] = {}
    for frame in data:
        if frame.hash not in hashes or frame.hash in bound:
            what, fix = "The frame is not in the fit", "give training frames, with the labels that they had"
            if frame.hash in bound:
                what = "The labels of the frame are bound to the sparse points of an earlier fit"
                fix = "remove frames before extend adds sparse points, or give extend the old_frames"
            raise DataError(what, where=frame.where, fix=fix)
        hashes.remove(frame.hash)
        if is_isolated(frame):
            continue  # its energy is e0, and no label of the fit
        left = {k for group, k in state.training["left_out"] if group == frame.group}
        used = {k for k in frame.kinds if k not in left or own_sigma(frame, k) is not None}
        pairs = NeighbourList(state.reach).pairs(frame)
        known = total(state.baselines, state.e0, frame, frame.kinds, pairs, state.reach)
        for part in observations(frame, frame_rows(state.terms, pairs, used), known, sorted(used)):
            taken.setdefault(part.key, []).append(part)
    rows = [part if part.key not in taken else without(part, taken[part.key], state.prior_mm) for part in state.rows]
    training = {
        **state.training,
        "frames": state.training["frames"] - len(data),
        "atoms": state.training["atoms"] - sum(f.n_atoms for f in data),
    }
    remaining = [part for part in rows if part is not None]
    if all(part.key == EXACT for part in remaining):
        raise DataError("No label of the fit would be left", fix="keep some of the frames")
    state = replace(state, rows=remaining, hashes=np.array(hashes, dtype=np.uint64), training=training)
    return solved(replace(state, calibration=None))


def _joined(
    state: ModelState,
    terms: Sequence[Grown],
    settings: Sequence[Any],
    data: Sequence[Frame],
    rows: Sequence[CompressedRows],
    delta_factor: float = 1.0,
) -> ModelState:
    """The solved model of all rows on the new sparse points."""
    new = moved_prior(terms, delta_factor)
    training = {
        **state.training,
        "frames": state.training["frames"] + len(data),
        "atoms": state.training["atoms"] + sum(f.n_atoms for f in data),
        "left_out": sorted({tuple(p) for p in [*state.training["left_out"], *left_out(data, state.noise)]}),
    }
    first = _first(state)
    own = sources_of([*[isolated_frame(1)] * first, *data], new)
    species = replace(state, terms=new).species
    return solved(
        replace(
            state,
            settings=list(settings),
            terms=new,
            prior_mm=prior_factor(new),
            rows=[isolated_rows(new, species), *merged(rows)],
            hashes=np.concatenate([state.hashes, np.array([f.hash for f in data], dtype=np.uint64)]),
            training=training,
            calibration=None,
            sources={**{s: source for s, source in own.items() if s >= first}, **state.sources},
        )
    )


def _summarised(state: ModelState) -> ModelState:
    """The model with the note that all its frames stand in one summary."""
    state = _bound(state)
    return replace(state, training={**state.training, "left_out": []})


def _bound(state: ModelState) -> ModelState:
    """The model with the note that its frames cannot be taken out one by one any more."""
    return replace(state, training={**state.training, "bound": state.training["frames"]})


def _first(state: ModelState) -> int:
    """Index of the next structure of the fit; those that were removed keep theirs."""
    return max([int(state.training["frames"]), *(s + 1 for s in state.sources)])


def _grown(
    state: ModelState,
    data: Sequence[Frame],
    n_sparse: int | Mapping[str, int] | None,
    random: np.random.Generator,
    n_jobs: int,
    ceiling: float,
) -> tuple[list[Grown], list[Any]]:
    """All terms with the sparse points of more frames, and their settings."""
    terms, settings = [], []
    first = _first(state)
    for one, term in zip(state.settings, state.terms, strict=True):
        changed, more = grown(one, term, data, n_sparse, first, random, pool_bytes(ceiling), n_jobs)
        terms.append(more)
        settings.append(changed)
    return terms, settings


def _with_elements(state: ModelState, data: Sequence[Frame], e0: Mapping[int, float]) -> tuple[ModelState, list[Known]]:
    """The model with e0 and baselines of all elements of the data, and what it knows of these."""
    new = sorted(set(species_of(data)) - set(state.e0))
    _compare_isolated(state, data)
    alone = [isolated_frame(z) for z in state.e0]
    baselines = [b.prepared([*data, *alone]) for b in state.baselines]
    given: dict[str | int, float] = dict(state.e0.items())
    given |= {z: energy for z, energy in e0.items() if z not in state.e0}
    for z, energy in e0.items():
        if z in state.e0 and abs(energy - state.e0[z]) > _SAME_ENERGY:
            what = f"e0 of {chemical_symbols[z]} is {state.e0[z]:g} eV in the model, not {energy:g} eV"
            raise ConfigError(what, fix="leave it out, or use fine_tune for another reference method")
    if not new:
        return replace(state, baselines=baselines), known_by(baselines, state.e0, data)
    found, _, known = known_of(data, baselines, given)
    wanted = {*state.e0, *new}
    e0_all = {z: e for z, e in found.e0.items() if z in wanted}
    guessed = sorted({*state.guessed, *(not_isolated(data, given) & set(new))})
    training = {**state.training, "guessed": guessed}
    return replace(state, baselines=completed(baselines, found), e0=e0_all, training=training), known


def _compare_isolated(state: ModelState, data: Sequence[Frame]) -> None:
    """Warn of isolated atoms of known elements that have other energies than the model."""
    known = [f for f in data if is_isolated(f) and f.energy is not None and set(species_of([f])) <= set(state.e0)]
    for frame in known:
        energy, other = float(frame.energy or 0.0), reference_energy(frame.numbers_e, state.e0, frame.where)
        if abs(energy - other) > _SAME_ISOLATED:
            what = (
                f"{frame.where or 'a frame'}: isolated {chemical_symbols[frame.numbers_e[0]]} has {energy:g} eV, but "
            )
            what += f"{other:g} eV in the model, which keeps its own."
            fix = "Fix: fit again with all frames, or use fine_tune if the reference method is another."
            warn(f"{what} {fix}")


def _with_reference(
    state: ModelState, data: Sequence[Frame], e0: Mapping[str | int, float] | None, n_jobs: int
) -> ModelState:
    """The model with the e0 of another reference method."""
    alone = [f for f in data if f.energy is not None and is_isolated(f)]
    known = isolated_energies(alone, e0)
    given: dict[str | int, float] = {z: e - state.e0[z] for z, e in known.items() if z in state.e0}
    labelled_frames = [f for f in data if f.energy is not None and not is_isolated(f)]
    old = evaluate_many(state, labelled_frames, [{"energy"}] * len(labelled_frames), n_jobs, PREDICTION_BYTES)
    rest = [replace(f, energy=float(f.energy or 0.0) - p.energy) for f, p in zip(labelled_frames, old, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shift = isolated_energies(rest, given)
    fitted = not_isolated(rest, given) & set(state.e0)
    if fitted:
        symbols = ", ".join(chemical_symbols[z] for z in sorted(fitted))
        what = f"e0 of {symbols} moves by least squares of the new energies against the model."
        warn(f"{what} Fix: add isolated atoms to the frames, or give e0.")
    guessed = sorted((set(state.guessed) - set(known)) | fitted)
    moved = {z: e + shift.get(z, 0.0) for z, e in state.e0.items()}
    return replace(state, e0=moved, training={**state.training, "guessed": guessed})


def _unused(state: ModelState, data: Sequence[Frame]) -> dict[int, float]:
    """Energies that an earlier fit was given for elements that are new, and alone in none of the frames."""
    alone = {int(f.numbers_e[0]) for f in data if f.energy is not None and is_isolated(f)}
    given = _by_number(state.training.get("unused_e0"))
    return {z: energy for z, energy in given.items() if z not in state.e0 and z not in alone}


def _by_number(e0: Mapping[str | int, float] | None) -> dict[int, float]:
    """Energies of isolated atoms by atomic number, checked."""
    return isolated_energies([], e0) if e0 else {}


def _checked_old(state: ModelState, old: Sequence[Frame]) -> list[Frame]:
    """The old frames, all of them."""
    if state.training.get("moved"):
        what = "the frames of a model that was fine-tuned have labels of more than one reference method"
        raise ConfigError(what, fix="leave old_frames out")
    given = {f.hash for f in old}
    lacking = sum(number not in given for number in state.hashes.tolist())
    if lacking or len(given) != len(set(state.hashes.tolist())):
        what = f"old_frames are not those of the fit: {lacking} of its {len(state.hashes)} frames are missing"
        what = what if lacking else "old_frames has frames that were not in the fit"
        raise DataError(what, fix="give the same frames as to fit, or leave old_frames out")
    return list(old)
