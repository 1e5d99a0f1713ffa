"""`gapkit fit`."""

from __future__ import annotations

import argparse
import time
from copy import copy
from pathlib import Path

from gapkit import GAP, Frame, evaluate
from gapkit.cli.config import of_file, read_config
from gapkit.cli.output import require_writable, size_of
from gapkit.cli.plan import SOAP_OPTIONS, make_plan, sigma_text
from gapkit.cli.reading import read_training, summary
from gapkit.cli.report import columns, evaluation_table
from gapkit.errors import warn
from gapkit.model.evaluation import Comparison
from gapkit.typing import KINDS

OPTIONS = (*SOAP_OPTIONS, *(f"sigma_{kind}" for kind in KINDS), "seed", "jobs", "max_memory")
"""Settings on the command line; those that were not given are absent."""

_NOTHING_LEARNED, _SMALL = 0.9, 0.1  # share of the spread of labels; eV/atom, eV/Å, GPa


def run(arguments: argparse.Namespace) -> None:
    """Fit a model to labelled structures."""
    started = time.perf_counter()
    output = Path(arguments.output)
    inputs = [*arguments.train, *filter(None, [arguments.config])]
    require_writable(output, inputs=map(Path, inputs))
    options = {name: getattr(arguments, name) for name in OPTIONS if hasattr(arguments, name)}
    config = read_config(arguments.config)
    frames = read_training(arguments.train, config.keys)
    print("\n".join(summary(frames)))
    plan = make_plan(frames, config, options)
    print("\n".join(columns([(c.name, c.value, c.why) for c in plan.choices], left=3)), flush=True)
    source = " and ".join(filter(None, [config.path, "the command line" if options else ""]))
    with of_file(source if config.path else ""):
        model = plan.model.fit(plan.data, rng=plan.seed)
    model.save(output, data=arguments.keep_data)
    n_sparse = sum(term.n_columns for term in model.state_.terms)
    if plan.model.noise is None:
        learned = [f"{kind} {sigma_text(getattr(model.state_.noise, kind), kind)}" for kind in KINDS]
        print(f"\nlearned sigma: {', '.join(learned)}")
    print(f"\nfitted {n_sparse} sparse points in {time.perf_counter() - started:.1f} s")
    print(f"wrote {output} ({size_of(output)})")
    print(_speed(model, max(frames, key=lambda frame: frame.n_atoms)))
    errors = evaluate(model, frames)
    print(f"\nerrors on the training data\n\n{evaluation_table(errors)}", flush=True)
    for kind in KINDS:
        if getattr(model.state_.noise, kind) is not None and _learned_nothing(errors.comparison(kind)):
            fix = f"gapkit check {' '.join(arguments.train)}; if it finds nothing, raise --n-sparse or --r-cut"
            what = "errors on the training data are as large as the labels vary; units or signs,"
            warn(f"{kind}: {what} or too few sparse points, or a cutoff that is too short? Fix: {fix}.")


def _speed(model: GAP, frame: Frame) -> str:
    """What energy and forces take, as in dynamics: the best of four calls, or of as many as fit into half a second."""
    alone, taken = copy(model), list[float]()
    alone.n_jobs = 1
    while len(taken) < 4 and sum(taken) < 0.5:  # the first prepares things
        start = time.perf_counter()
        alone.predict_frame(frame, {"energy", "forces"})
        taken.append(time.perf_counter() - start)
    each, n = 1e6 * min(taken) / frame.n_atoms, frame.n_atoms
    digits = 0 if each >= 10.0 else 1
    return (
        f"energy and forces take {each:.{digits}f} µs per atom on one core ({n} atoms); fewer sparse points take less"
    )


def _learned_nothing(found: Comparison | None) -> bool:
    """Whether labels that differ are predicted no better than by their mean, about."""
    return found is not None and found.rmse > max(_NOTHING_LEARNED * float(found.true_n.std()), _SMALL)
