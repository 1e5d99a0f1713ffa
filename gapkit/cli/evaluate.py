"""`gapkit evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gapkit import evaluate, load
from gapkit._drawing import check_format, render
from gapkit.cli.config import keys_for, read_config
from gapkit.cli.figure import parity_figure
from gapkit.cli.output import require_all_writable, write_json, write_whole
from gapkit.cli.plan import default_jobs
from gapkit.cli.reading import read_labelled
from gapkit.cli.report import counted, evaluation_table
from gapkit.errors import warn


def run(arguments: argparse.Namespace) -> None:
    """Compare a model with labelled structures."""
    inputs = [arguments.model, *arguments.test, arguments.config]
    require_all_writable([arguments.json, arguments.plot], inputs=inputs)
    if arguments.plot:
        check_format(Path(arguments.plot))
    config, model = read_config(arguments.config), load(arguments.model)
    model.n_jobs = arguments.jobs or default_jobs()
    frames, tested = read_labelled(arguments.test, keys_for(config, model)), ", ".join(arguments.test)
    known = {int(number) for number in model.state_.hashes}
    seen = sum(frame.hash in known for frame in frames)
    if seen:
        what = f"{counted(seen, 'frame')} of {tested} were in the fit: their errors say nothing about new ones"
        warn(what)
    evaluation = evaluate(model, frames)
    print(f"{arguments.model} on {tested}\n\n{evaluation_table(evaluation)}", flush=True)
    if arguments.json:
        write_json(Path(arguments.json), evaluation.as_dict())
    if arguments.plot:
        title = f"{Path(arguments.model).name} on {', '.join(Path(path).name for path in arguments.test)}"
        write_whole(Path(arguments.plot), render(parity_figure(evaluation, title), Path(arguments.plot)))
