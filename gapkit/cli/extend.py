"""`gapkit extend`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from gapkit import Keys, evaluate, load
from gapkit.cli.config import keys_for, read_config
from gapkit.cli.output import require_writable, size_of
from gapkit.cli.plan import default_jobs
from gapkit.cli.reading import read_training, summary
from gapkit.cli.report import evaluation_table


def run(arguments: argparse.Namespace) -> None:
    """Add labelled structures, which may have new elements, to a model, or move it to another reference method."""
    started, output = time.perf_counter(), Path(arguments.output)
    inputs = [arguments.model, *arguments.frames, *arguments.old_frames, *filter(None, [arguments.config])]
    require_writable(output, inputs=map(Path, inputs))
    config, model = read_config(arguments.config), load(arguments.model)
    keys = keys_for(config, model)
    model.keys = None if keys == Keys() else keys
    model.n_jobs = arguments.jobs or default_jobs()
    frames = read_training(arguments.frames, keys)
    print("\n".join(summary(frames)), flush=True)
    old = read_training(arguments.old_frames, keys) if arguments.old_frames else None
    before = sum(term.n_columns for term in model.state_.terms)
    given = {"n_sparse": arguments.n_sparse, "e0": dict(config.e0.items()) or None, "rng": arguments.seed}
    if arguments.fine_tune:
        model.fine_tune(frames, **given)
    else:
        model.extend(frames, old_frames=old, **given)
    model.save(output, data=arguments.keep_data)
    after = sum(term.n_columns for term in model.state_.terms)
    print(f"{before} + {after - before} sparse points in {time.perf_counter() - started:.1f} s")
    print(f"wrote {output} ({size_of(output)})")
    print(f"\nerrors on the new data\n\n{evaluation_table(evaluate(model, frames))}")
