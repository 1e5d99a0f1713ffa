"""`gapkit tune`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gapkit import ConfigError, evaluate
from gapkit._drawing import check_format
from gapkit.cli.config import TERMS, of_file, read_config
from gapkit.cli.known import in_use
from gapkit.cli.output import require_all_writable, size_of, write_json, write_whole
from gapkit.cli.plan import make_plan
from gapkit.cli.reading import read_training, summary
from gapkit.cli.report import HEADINGS, columns, counted, evaluation_table
from gapkit.cli.settings import settings_text
from gapkit.errors import nearest
from gapkit.tuning import Tuning, tune
from gapkit.tuning.search import Budget
from gapkit.tuning.space import in_words, knob_of, value_text
from gapkit.typing import KINDS
from gapkit.units import REPORTED

_WORDS: Final = {"none": None, "true": True, "false": False}
_LEFT_OUT: Final = {"trajectory": "trajectories", "frame": "frames"}


def run(arguments: argparse.Namespace) -> None:
    """Try settings of the terms, by the evidence and by errors of structures that are left out."""
    started, output = time.perf_counter(), Path(arguments.output)
    outputs = [arguments.output, arguments.model_out, arguments.json, arguments.plot, arguments.resume]
    require_all_writable(outputs, inputs=[*arguments.train, arguments.config])
    if arguments.plot:
        check_format(Path(arguments.plot))
    space, budget = parsed_space(arguments.space), parsed_budget(arguments.budget)
    Budget.of(budget)  # what is wrong shall not be said after all data were read
    for name in space or ():
        require_setting(name)
    config = read_config(arguments.config)
    frames = read_training(arguments.train, config.keys)
    print("\n".join(summary(frames)), flush=True)
    options = {name: getattr(arguments, name) for name in ("jobs", "seed", "n_sparse") if hasattr(arguments, name)}
    plan = make_plan(frames, config, options, search=False)
    plan.model.baselines = in_use(plan.data)
    with of_file(config.path):
        found = tune(
            frames,
            space,
            budget,
            model=plan.model,
            score=arguments.score,
            leave=arguments.leave,
            noise=arguments.noise,
            rng=plan.seed,
            checkpoint=arguments.resume,
        )
    print(f"{trials_table(found)}\n\n{found.agreement}\n")
    seconds = time.perf_counter() - started
    print(f"best: {in_words(found.best.settings)}; {counted(len(found.trials), 'trial')} in {seconds:.1f} s")
    if found.at_edge:
        fix = "--space with values beyond shows whether others are better"
        print(f"at the edge of what was tried: {in_words(found.at_edge)}; {fix}")
    write_whole(output, settings_text(found.model(), found.seed, _comment(found)).encode())
    print(f"wrote {output}: gapkit fit {' '.join(arguments.train)} --config {output} -o MODEL.gap", flush=True)
    if arguments.json:
        write_json(Path(arguments.json), found.as_dict())
    if arguments.plot:
        found.plot(arguments.plot)
    if arguments.model_out:
        model = found.fit(frames)
        model.save(arguments.model_out, data=arguments.keep_data)
        print(f"wrote {arguments.model_out} ({size_of(Path(arguments.model_out))})")
        print(f"\nerrors on the training data\n\n{evaluation_table(evaluate(model, frames))}")


def parsed_space(given: Sequence[str] | None) -> dict[str, list[Any]] | None:
    """{name: values} of words such as zeta=2,4,6; None without any."""
    if not given:
        return None
    space: dict[str, list[Any]] = {}
    for word in given:
        name, equals, values = word.partition("=")
        listed = [value.strip() for value in values.split(",")]
        if not equals or not name.strip() or not all(listed):
            fix = "write --space zeta=2,4,6, and --space once for each setting"
            raise ConfigError(f"--space '{word}' is no name with values", fix=fix)
        space.setdefault(name.strip().replace("-", "_"), []).extend(map(_value, listed))
    return space


def require_setting(name: str) -> None:
    """ConfigError for a name that is no setting of any kind of term."""
    first, delimiter, inner = name.partition("__")
    kind = first.rstrip("0123456789") if delimiter else "soap"
    if kind not in TERMS:
        raise ConfigError(f"space names '{name}', but no term is '{first}'", fix=nearest(first, TERMS))
    term = TERMS[kind]({"weighting": {"function": "poly"}}) if kind == "soap" else TERMS[kind]()
    knob_of(f"{kind}{delimiter}{inner}" if delimiter else name, [term])


def _value(text: str) -> Any:
    """A number, a truth value, nothing, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def parsed_budget(text: str | None) -> int | str | None:
    """A number of trials, or a time."""
    return int(text) if text is not None and text.isdecimal() else text


def trials_table(found: Tuning) -> str:
    """A line per trial, best first, with marks for what is best."""
    kinds = [kind for kind in KINDS if any(kind in trial.mae for trial in found.trials)]
    names = list(found.space.values)
    rows = [[*names, *(HEADINGS[kind][0] for kind in kinds), "log evidence", "s", ""]]
    for trial in sorted(found.trials, key=lambda trial: trial.score(found.by)):
        cells = [value_text(trial.settings[name]) for name in names]
        errors = [f"{REPORTED[k].scale * trial.mae[k]:.{HEADINGS[k][1]}f}" if k in trial.mae else "-" for k in kinds]
        marks = {"best": found.best, "largest evidence": found.best_by_evidence, "start": found.trials[0]}
        mark = ", ".join(text for text, own in marks.items() if own is trial)
        rows.append([*cells, *errors, f"{trial.log_evidence:.1f}", f"{trial.seconds:.1f}", mark])
    widest = max(len(row[-1]) for row in rows)
    for row in rows:
        row[-1] = row[-1].ljust(widest)
    first, *lines = columns(rows, left=0)
    what = f"mean absolute errors, {_LEFT_OUT.get(found.left_out, 'groups')} left out one by one"
    return "\n".join([what, "", first, "-" * max(map(len, [first, *lines])), *lines])


def _comment(found: Tuning) -> str:
    """How the settings were found, for the head of the file."""
    tried = "; ".join(f"{name} {', '.join(map(value_text, own))}" for name, own in found.space.values.items())
    return f"Written by gapkit tune. Best of {counted(len(found.trials), 'trial')} of {tried}\n{found.agreement}"
