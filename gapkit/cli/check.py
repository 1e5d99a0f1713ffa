"""`gapkit check`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gapkit.cli.config import read_config
from gapkit.cli.output import require_writable, write_json
from gapkit.datasets import check_files


def run(arguments: argparse.Namespace) -> int:
    """Look for faults in labelled structures before they are fitted."""
    inputs = [Path(path) for path in (*arguments.frames, *arguments.test, arguments.config) if path]
    if arguments.json:
        require_writable(Path(arguments.json), inputs=inputs)
    report = check_files(arguments.frames, arguments.test, keys=read_config(arguments.config).keys)
    print(report, flush=True)
    if arguments.json:
        write_json(Path(arguments.json), report.as_dict())
    return 1 if report.errors else 0
