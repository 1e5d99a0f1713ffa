"""`gapkit evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gapkit import evaluate, load, read_frames
from gapkit._drawing import check_format, render
from gapkit.atoms.labels import to_frames
from gapkit.cli.config import keys_for, read_config
from gapkit.cli.figure import parity_figure
from gapkit.cli.output import require_writable, write_json, write_whole
from gapkit.cli.plan import default_jobs
from gapkit.cli.report import counted, evaluation_table
from gapkit.errors import warn


def run(arguments: argparse.Namespace) -> None:
    """Compare a model with labelled structures."""
    inputs = [Path(path) for path in (arguments.model, arguments.test, arguments.config) if path]
    for path in filter(None, (arguments.json, arguments.plot)):
        require_writable(Path(path), inputs=inputs)
    if arguments.plot:
        check_format(Path(arguments.plot))
    config, model = read_config(arguments.config), load(arguments.model)
    model.n_jobs = arguments.jobs or default_jobs()
    frames = to_frames(
        read_frames(arguments.test), keys=keys_for(config, model), where=arguments.test, require_labels=True
    )
    known = {int(number) for number in model.state_.hashes}
    seen = sum(frame.hash in known for frame in frames)
    if seen:
        what = f"{counted(seen, 'frame')} of {arguments.test} were in the fit: their errors say nothing about new ones"
        warn(what)
    evaluation = evaluate(model, frames)
    print(f"{arguments.model} on {arguments.test}\n\n{evaluation_table(evaluation)}", flush=True)
    if arguments.json:
        write_json(Path(arguments.json), evaluation.as_dict())
    if arguments.plot:
        title = f"{Path(arguments.model).name} on {Path(arguments.test).name}"
        write_whole(Path(arguments.plot), render(parity_figure(evaluation, title), Path(arguments.plot)))
