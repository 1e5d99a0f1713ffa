"""`gapkit scan`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gapkit import ConfigError, load, read_frames
from gapkit._drawing import check_format
from gapkit.atoms.labels import to_frames
from gapkit.cli.config import keys_for, read_config
from gapkit.cli.output import require_all_writable, size_of, write_json
from gapkit.cli.plan import default_jobs
from gapkit.cli.report import columns, counted
from gapkit.errors import nearest
from gapkit.tuning import Pareto, Point, pareto
from gapkit.typing import KINDS
from gapkit.units import SIGMA_UNITS

_ROLES = {"start": "as it was", "evidence": "most probable"}


def run(arguments: argparse.Namespace) -> None:
    """Weigh energies, forces and stresses against one another on structures that the model has not seen."""
    inputs = [arguments.model, arguments.frames, arguments.config]
    require_all_writable([arguments.output, arguments.json, arguments.plot], inputs=inputs)
    if arguments.plot:
        check_format(Path(arguments.plot))
    objectives = [name.strip() for name in arguments.objectives.split(",")]
    limits = _limits(arguments.max or [], objectives)
    config, model = read_config(arguments.config), load(arguments.model)
    model.n_jobs = arguments.jobs or default_jobs()
    frames = to_frames(
        read_frames(arguments.frames), keys=keys_for(config, model), where=arguments.frames, require_labels=True
    )
    found = pareto(model, frames, arguments.grid, objectives)
    what = f"the best of {counted(len(found.points), 'model')} for any weights of the objectives"
    print(f"{arguments.model} on {arguments.frames}: {what}\n")
    print(f"{front_table(found)}\n\n{found.verdict}", flush=True)
    if arguments.json:
        write_json(Path(arguments.json), found.as_dict())
    if arguments.plot:
        found.plot(arguments.plot)
    if limits or arguments.output:
        point = found.best(limits)
        print(f"\nchosen: {_sigmas(point)}; {_values(found, point)}", flush=True)
        if arguments.output:
            found.model(point).save(arguments.output, data=True)
            print(f"wrote {arguments.output} ({size_of(Path(arguments.output))})", flush=True)


def _limits(given: Sequence[str], objectives: Sequence[str]) -> dict[str, float]:
    """{objective: upper bound} of texts like energy=2.2."""
    limits = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            limits[name] = float(value)
        except ValueError as error:
            raise ConfigError(f"--max {text} is no bound", fix="give --max energy=2.2, in meV/atom") from error
        if name not in objectives:
            raise ConfigError(f"--max {text} bounds no objective", fix=nearest(name, objectives))
    return limits


def front_table(found: Pareto) -> str:
    """The front, the model as it was and the one with the most probable σ, for a person."""
    shown = found.front + [p for p in found.points if p.role and not p.on_front]
    kinds = [kind for kind in KINDS if any(getattr(p.noise, kind) is not None for p in shown)]
    values = [f"{name} ({unit})" if unit else name for name, unit in found.units.items()]
    rows: list[list[str]] = [["", *(f"sigma {kind} ({SIGMA_UNITS[kind]})" for kind in kinds), *values, "log evidence"]]
    for p in shown:
        sigmas = (getattr(p.noise, kind) for kind in kinds)
        cells = ["-" if s is None else f"{s:.3g}" for s in sigmas] + [f"{p.values[name]:.4g}" for name in found.units]
        rows.append([_ROLES.get(p.role, ""), *cells, f"{p.log_evidence:.1f}"])
    first, *rest = columns(rows)
    return "\n".join([first, "-" * max(map(len, [first, *rest])), *rest])


def _sigmas(point: Point) -> str:
    sigmas: dict[Any, Any] = {kind: getattr(point.noise, kind) for kind in KINDS}
    return ", ".join(f"sigma {kind} {s:.3g} {SIGMA_UNITS[kind]}" for kind, s in sigmas.items() if s is not None)


def _values(found: Pareto, point: Point) -> str:
    return ", ".join(f"{name} {point.values[name]:.4g} {unit}".rstrip() for name, unit in found.units.items())
