"""`gapkit calibrate`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Final

from gapkit import Calibration, load, read_frames
from gapkit._drawing import check_format, render
from gapkit.atoms.labels import to_frames
from gapkit.cli.config import keys_for, read_config
from gapkit.cli.output import require_all_writable, size_of, write_json, write_whole
from gapkit.cli.plan import default_jobs
from gapkit.cli.report import HEADINGS, columns
from gapkit.typing import KINDS, Kind
from gapkit.uncertainty import calibrate
from gapkit.uncertainty.reliability import reliability_figure
from gapkit.units import REPORTED

_SCALED: Final = ("rms_error", "rms_std", "crps")
_LINES: Final = (
    ("frames", "n_frames", "d"),
    ("values", "n_values", "d"),
    ("rms error", "rms_error", ""),
    ("rms sigma", "rms_std", ""),
    ("within 1 sigma, 68 % expected", "coverage_68", "%"),
    ("within 1.96 sigma, 95 % expected", "coverage_95", "%"),
    ("miscalibration area", "miscalibration_area", ".3f"),
    ("CRPS", "crps", ""),
    ("NLL", "nll", ".3f"),
    ("rank correlation with errors", "spearman", ".2f"),
    ("knots", "knots", "d"),
)
"""Lines of the table: text, name in the report, format; no format for values with a unit."""


def run(arguments: argparse.Namespace) -> None:
    """Make standard deviations agree with errors."""
    model_path = Path(arguments.model)
    output = Path(arguments.output or arguments.model)
    inputs, beside = [arguments.frames, arguments.config], [arguments.json, arguments.plot]
    require_all_writable(beside, inputs=[*inputs, arguments.model])
    require_all_writable([str(output), *beside], inputs=inputs)
    if arguments.plot:
        check_format(Path(arguments.plot))
    config, model = read_config(arguments.config), load(model_path)
    model.n_jobs = arguments.jobs or default_jobs()
    frames = to_frames(
        read_frames(arguments.frames), keys=keys_for(config, model), where=arguments.frames, require_labels=True
    )
    calibration = calibrate(model, frames, leave_one_out=arguments.leave_one_out, rng=arguments.seed)
    how = "training frames, each left out" if arguments.leave_one_out else "frames held out"
    print(f"{model_path} on {arguments.frames}, {how}\n\n{calibration_table(calibration)}\n", flush=True)
    model.save(output, data=model.state_.rows is not None)
    print(f"wrote {output} ({size_of(output)})", flush=True)
    if arguments.json:
        write_json(Path(arguments.json), as_dict(calibration))
    if arguments.plot:
        figure = reliability_figure(calibration, f"{model_path.name} on {Path(arguments.frames).name}")
        write_whole(Path(arguments.plot), render(figure, Path(arguments.plot)))


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """The report in meV/atom, eV/Å and GPa; the unit is part of the name, that of the NLL is the logarithm of it."""
    document: dict[str, Any] = {}
    for kind, report in _reports(calibration).items():
        scaled = {f"{name}_{REPORTED[kind].name}": report[name] for name in _SCALED}
        document[kind] = {name: value for name, value in report.items() if name not in _SCALED} | scaled
    return document


def _reports(calibration: Calibration) -> dict[Kind, dict[str, Any]]:
    """Reports with values in the units of the table."""
    reports: dict[Kind, dict[str, Any]] = {}
    for kind in (kind for kind in KINDS if kind in calibration.report):
        scale = REPORTED[kind].scale
        report = dict(calibration.report[kind])
        reports[kind] = report | {name: scale * report[name] for name in _SCALED}
        reports[kind]["nll"] = report["nll"] + math.log(scale)
    return reports


def calibration_table(calibration: Calibration) -> str:
    """The report for a person: a column per kind, all from σ of values that it was not fitted to."""
    reports = _reports(calibration)
    rows = [["", *(HEADINGS[kind][0] for kind in reports)]]
    for text, name, form in _LINES:
        cells = (_cell(report[name], form or f".{HEADINGS[kind][1]}f") for kind, report in reports.items())
        rows.append([text, *cells])
    first, *rest = columns(rows)
    lines = [first, "-" * max(map(len, rest)), *rest, "", "rms error / rms sigma, from small to large sigma"]
    ratios = [[f"  {kind}", *(f"{r:.2f}" for r in report["ratio_by_sigma"])] for kind, report in reports.items()]
    most = max(map(len, ratios))
    return "\n".join([*lines, *columns([row + [""] * (most - len(row)) for row in ratios])])


def _cell(value: Any, form: str) -> str:
    return f"{100.0 * value:.1f} %" if form == "%" else format(value, form)
