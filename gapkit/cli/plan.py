"""What a fit will do: options, configuration file and data become a model, with the reason of each choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gapkit import GAP, ConfigError, Frame, Keys, Noise
from gapkit._check import memory
from gapkit.cli.config import TERMS, Config, Table, of_file
from gapkit.cli.known import baselines_of, describe, told_baselines, told_e0
from gapkit.errors import nearest
from gapkit.model.choice import DEFAULT, GIVEN, Choice
from gapkit.model.choosing import choose
from gapkit.model.defaults import default_terms, soap_of
from gapkit.model.prepared import Prepared
from gapkit.typing import KINDS, Kind
from gapkit.units import SIGMA_UNITS

SOAP_OPTIONS: Final = ("r_cut", "n_max", "l_max", "zeta", "n_sparse")
"""Settings on the command line that concern the SOAP term."""

_LEFT_OUT: Final = "left out"
MOST_JOBS: Final = 8  # more threads wait for one another


@dataclass(frozen=True)
class Plan:
    """A model ready to be fitted, what it is fitted to, its seed, and the choices that made it."""

    model: GAP
    data: Prepared
    seed: int
    choices: Sequence[Choice]


def make_plan(frames: Sequence[Frame], config: Config, options: Mapping[str, Any], *, search: bool = True) -> Plan:
    """The model that the data, the file and the options (which win over the file) ask for.

    Without `search`, default terms come from the structures alone, and their σ are left open.

    Raises
    ------
    ConfigError, DataError
        Settings that are outside their range, contradict each other or do not fit to the data.
    """
    noise, of_noise = _noise(frames, config, options)
    seed, why_seed = _pick("seed", options, config, 0)
    jobs, why_jobs = _pick("jobs", options, config, default_jobs())
    why_jobs = "one thread per core, at most 8" if why_jobs == DEFAULT else why_jobs
    last = [Choice("seed", str(seed), why_seed), Choice("jobs", str(jobs), why_jobs)]
    ceiling, why_ceiling = _pick("max_memory", options, config, None)
    if ceiling is not None:
        last.append(Choice("max_memory", str(ceiling), why_ceiling))
    given = {name: options[name] for name in SOAP_OPTIONS if name in options}
    keys = None if config.keys == Keys() else config.keys
    e0: dict[str | int, float] = dict(config.e0.items())
    model = GAP(None, noise, baselines=baselines_of(config), e0=e0, keys=keys, n_jobs=jobs, max_memory=ceiling)
    if config.terms is not None:
        model.terms, choices = _terms(frames, config, given)
        data = model.prepare(frames)
    elif search:
        data = model.prepare(frames)
        free = noise if _only_left_out(config, options) else None
        fixed = noise if free is None else None
        chosen = choose(data, given, fixed, n_jobs=jobs, ceiling=memory("max_memory", ceiling), start=free)
        model.terms, choices = chosen.terms, list(map(_flagged, chosen.choices))
        if chosen.noise is not None and chosen.noise is not noise:
            model.noise, of_noise = chosen.noise, [c for c in of_noise if c.value == _LEFT_OUT]
    else:
        model.terms, choices = default_terms(frames, **given), []
        data = model.prepare(frames)
    told = [*choices, *told_baselines(config, data), *of_noise, *told_e0(config, data), *last]
    return Plan(model, data, seed, told)


def _flagged(choice: Choice) -> Choice:
    """A choice, with the option that made it."""
    return replace(choice, why=flag(choice.name)) if choice.why == GIVEN else choice


def default_jobs() -> int:
    """Threads when the user does not say."""
    import joblib

    return min(MOST_JOBS, joblib.cpu_count())


def _pick(name: str, options: Mapping[str, Any], config: Config, default: Any) -> tuple[Any, str]:
    """A setting and where it is from."""
    if name in options:
        return options[name], flag(name)
    value = getattr(config, name)
    return (default, DEFAULT) if value is None else (value, config.path)


def flag(name: str) -> str:
    """The option that sets `name`."""
    return "--" + name.replace("_", "-")


def _terms(frames: Sequence[Frame], config: Config, given: Mapping[str, Any]) -> tuple[list[Any], list[Choice]]:
    """The terms of the file, with options put over them."""
    _require_one_soap(config, given)
    terms, choices = [], []
    for k, table in enumerate(config.terms or ()):
        own = given if table["type"] == "soap" else {}
        with of_file(config.path):
            term = _term(table, own, frames)
        terms.append(term)
        why = ", ".join([config.path, *map(flag, own)])
        choices.append(Choice(f"term {k + 1}", f"{table['type']}: {describe(term)}", why))
    return terms, choices


def _require_one_soap(config: Config, given: Mapping[str, Any]) -> None:
    n_soap = sum(table["type"] == "soap" for table in config.terms or ())
    if given and n_soap != 1:
        names = " and ".join(map(flag, given))
        what = f"{names} would set the SOAP term, but the file has {n_soap or 'none'}"
        raise ConfigError(what, where=config.path, fix="leave the option out and set the value in the file")


def _term(table: Table, given: Mapping[str, Any], frames: Sequence[Frame]) -> Any:
    """The term of one table, with the options put over it."""
    arguments = {name: value for name, value in table.items() if name != "type"}
    if table["type"] == "soap":
        outer = {name: value for name, value in given.items() if name in ("zeta", "n_sparse")}
        inner = {name: value for name, value in given.items() if name not in outer}
        if "soap" in arguments:
            arguments["soap"] = _merged(arguments["soap"], inner)
        else:
            chosen = soap_of(default_terms(frames, **inner))
            arguments = {"soap": chosen.soap, "n_sparse": chosen.n_sparse, **arguments}
        arguments |= outer
    return TERMS[table["type"]](**arguments)


def _merged(soap: Table, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a SOAP with options put over them; a smooth cutoff moves along with r_cut."""
    merged = {**soap, **given}
    weighting = soap.get("weighting")
    if "r_cut" in given and weighting and weighting.get("r0") == soap.get("r_cut"):
        merged["weighting"] = {**weighting, "r0": given["r_cut"]}
    return merged


def _noise(frames: Sequence[Frame], config: Config, options: Mapping[str, Any]) -> tuple[Noise | None, list[Choice]]:
    if not config.noise and not config.groups and not any(f"sigma_{kind}" in options for kind in KINDS):
        return None, [
            Choice(
                "sigma",
                "learned",
                "the scale that makes the labels most probable; energy:forces:stress as 0.001:0.1:0.03",
            )
        ]
    standard: dict[Kind, float | None] = {kind: getattr(Noise(), kind) for kind in KINDS}
    sigmas, choices = {**standard, **config.noise}, []
    for kind in KINDS:
        name = f"sigma_{kind}"
        why = config.path if kind in config.noise else DEFAULT
        if name in options:
            sigmas[kind], why = options[name], flag(name)
        if not any(kind in frame.kinds for frame in frames):
            why += "; the data have no such label"
        choices.append(Choice(name, sigma_text(sigmas[kind], kind), why))
    present = {frame.group for frame in frames}
    for group, own in config.groups.items():
        if group not in present:
            what = f"[noise.groups] names '{group}', but no frame has that config_type"
            raise ConfigError(what, where=config.path, fix=nearest(group, present))
        text = ", ".join(f"{kind} {sigma_text(sigma, kind)}" for kind, sigma in own.items())
        choices.append(Choice(f"sigma of {group}", text, config.path))
    groups: Any = dict(config.groups) or None
    return Noise(sigmas["energy"], sigmas["forces"], sigmas["stress"], groups), choices


def _only_left_out(config: Config, options: Mapping[str, Any]) -> bool:
    """Whether kinds of label are left out, and no σ is given."""
    named = {**config.noise, **{kind: options[f"sigma_{kind}"] for kind in KINDS if f"sigma_{kind}" in options}}
    return bool(named) and not config.groups and all(sigma is None for sigma in named.values())


def sigma_text(sigma: float | None, kind: Kind) -> str:
    """A σ with its unit."""
    return _LEFT_OUT if sigma is None else f"{sigma:g} {SIGMA_UNITS[kind]}"
