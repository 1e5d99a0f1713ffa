"""What energies, forces and stresses cost one another: models over their weights in the fit, each a re-solve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
from ase import Atoms
from tqdm import tqdm

from gapkit import GAP, ConfigError, DataError, Errors, Frame, HeldOut, Noise
from gapkit._check import whole
from gapkit.errors import nearest, warn
from gapkit.tuning.front import Pareto, Point, not_dominated
from gapkit.typing import KINDS, FloatArray, Kind
from gapkit.units import REPORTED

Objective: TypeAlias = "str | Callable[[GAP], float]"
Grid: TypeAlias = "int | Sequence[Noise] | Mapping[Kind, Sequence[float]]"

REACH: Final[dict[Kind, float]] = {"energy": 30.0, "forces": 10.0, "stress": 10.0}
"""How far the σ of a grid go from those of the model, as factors."""

_BASES: Final = (2, 3, 5)
_NAMES: Final = tuple(f"{kind}{end}" for kind in KINDS for end in ("", "_mae", "_rmse"))


def pareto(
    model: GAP,
    frames: Iterable[Atoms] | Iterable[Frame] | HeldOut | None,
    grid: Grid = 100,
    objectives: Sequence[Objective] | Mapping[str, Objective] = ("energy", "forces"),
) -> Pareto:
    """Models over σ of energies, forces and stresses, which are their weights in the fit, and what each is good at.

    Every model is a re-solve of the compressed data; the rows of the frames are made once. Ctrl-C keeps the points that
    are done.

    Parameters
    ----------
    model
        A fitted model with its compressed data; it is not changed. Groups with σ of their own keep their ratios.
    frames
        Labelled structures that were not in the fit, or what `GAP.held_out` made of them. None: no objective needs any.
    grid
        Number of points, the model itself and the most probable σ included, which fill the space of log σ evenly, up to
        `REACH` from those of the model. Or a list of `Noise`, or {kind: values of σ}, of which
        all combinations are taken.
    objectives
        What is to be small: names of kinds (mean absolute error; also ``energy_mae``, ``energy_rmse``, …) and functions
        of a model, whose name is theirs unless a dictionary gives them others.

    Raises
    ------
    ConfigError
        A model without its data, an objective that the frames have no labels for, a grid without points.
    DataError
        A frame was in the fit: its errors say nothing.
    """
    named = _named(objectives)
    start = next(model.refits([model.state_.noise]))  # first of all, since it asks whether there are data
    others = list(_noises(model, grid))
    held = _held(model, frames, named)
    noises = [start.state_.noise, start.maximize_evidence("kind", delta=False).state_.noise, *others]
    roles = ["start", "evidence", *[""] * (len(noises) - 2)]
    values, evidences = [], []
    try:
        with tqdm(model.refits(noises), desc="scan", total=len(noises), unit="model", disable=None) as bar:
            for made in bar:
                values.append(_values(named, made, held))
                evidences.append(made.log_evidence_)
    except KeyboardInterrupt:
        evidences = evidences[: len(values)]
        if not evidences:
            raise
        what = f"the scan was interrupted; the first {len(evidences)} of {len(noises)} models are kept"
        warn(what)
    values_xo = np.array(values[: len(evidences)])
    points = [
        Point(noise, dict(zip(named, map(float, values_o), strict=True)), evidence, bool(on_front), role)
        for noise, values_o, evidence, on_front, role in zip(
            noises, values_xo, evidences, not_dominated(values_xo), roles, strict=False
        )
    ]
    units = {name: REPORTED[_kind(o)].text if isinstance(o, str) else "" for name, o in named.items()}
    return Pareto(tuple(points), units, model)


def design(n: int, dimensions: int) -> FloatArray:
    """n points that fill the unit cube and each of its edges evenly, the first n of any larger number, shape (n, D).

    Radical inverses of 1, 2, … in different bases (Halton, Numer. Math. 2, 84 (1960)).
    """
    x_nd = np.zeros((n, dimensions))
    for d, base in enumerate(_BASES[:dimensions]):
        left, scale = np.arange(1, n + 1), 1.0
        while left.any():
            scale /= base
            x_nd[:, d] += scale * (left % base)
            left //= base
    return x_nd


def _noises(model: GAP, grid: Grid) -> Iterator[Noise]:
    """The noises of a grid."""
    state = model.state_
    kinds = [kind for kind in KINDS if any(p.key.kind == kind and not p.key.own for p in state.rows or ())]
    kinds = [kind for kind in kinds if getattr(state.noise, kind) is not None]
    if isinstance(grid, Mapping):
        for kind in grid:
            if kind not in kinds:
                raise ConfigError(f"the grid names '{kind}'", fix=nearest(kind, kinds))
        for sigmas in product(*grid.values()):
            noise = deepcopy(state.noise)
            yield noise.set_params(**dict(zip(grid, map(float, sigmas), strict=True)))
    elif isinstance(grid, Sequence):
        yield from grid
    else:
        n = max(0, whole("grid", grid, least=2) - 2)
        for u_d in design(n, len(kinds)):
            factors = [REACH[kind] ** (2.0 * u - 1.0) for kind, u in zip(kinds, u_d.tolist(), strict=True)]
            yield state.noise.scaled(dict(zip(kinds, factors, strict=True)))


def _named(objectives: Sequence[Objective] | Mapping[str, Objective]) -> dict[str, Objective]:
    """Objectives by name."""
    if isinstance(objectives, str) or not objectives:
        raise ConfigError("objectives are no list of names and functions", fix='give ("energy", "forces")')
    if isinstance(objectives, Mapping):
        named = dict(objectives)
    else:
        named = {o if isinstance(o, str) else getattr(o, "__name__", type(o).__name__): o for o in objectives}
        if len(named) < len(objectives):
            raise ConfigError("two objectives have the same name", fix="give a dictionary {name: function}")
    for one in named.values():
        if isinstance(one, str) and one not in _NAMES:
            raise ConfigError(f"'{one}' is no objective", fix=f"{nearest(one, _NAMES)}, or a function of the model")
        if not isinstance(one, str) and not callable(one):
            raise ConfigError(f"{one!r} is no objective", fix="give the name of a kind, or a function of the model")
    return named


def _kind(objective: str) -> Kind:
    return next(kind for kind in KINDS if objective.startswith(kind))


def _held(model: GAP, frames: Any, named: Mapping[str, Objective]) -> HeldOut | None:
    """Rows of the frames, if there are any; errors for objectives that they cannot serve."""
    wanted = {_kind(o) for o in named.values() if isinstance(o, str)}
    held = None
    if isinstance(frames, HeldOut):
        held = frames
    elif frames is not None and wanted:
        structures = list(frames)
        single = [(one.n_atoms if isinstance(one, Frame) else len(one)) == 1 for one in structures]  # has its e0
        seen = [known and not alone for known, alone in zip(model.trained_on(structures), single, strict=True)]
        if any(seen):
            what = f"{sum(seen)} of {len(seen)} frames were in the fit, the first is number {seen.index(True)}"
            raise DataError(what, fix="give frames that were not, see gapkit.split")
        held = model.held_out(structures)
    missing = [kind for kind in KINDS if kind in wanted and (held is None or kind not in held.kinds)]
    if missing:
        what = f"no frame has {' and '.join(missing)} to compare with"
        raise ConfigError(what, fix="give frames with these labels, or other objectives")
    return held


def _values(named: Mapping[str, Objective], model: GAP, held: HeldOut | None) -> list[float]:
    """All objectives of one model, in the units of `REPORTED`."""
    errors: Mapping[Kind, Errors] = held.errors(model) if held is not None else dict[Kind, Errors]()
    values = []
    for one in named.values():
        if isinstance(one, str):
            kind = _kind(one)
            own = errors[kind]
            values.append(REPORTED[kind].scale * (own.rmse if one.endswith("_rmse") else own.mae))
        else:
            values.append(float(one(model)))
    return values
