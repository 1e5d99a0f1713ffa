"""The configuration file of `gapkit fit`: TOML, read and checked to the last key."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from gapkit import GAP, ConfigError, Keys
from gapkit._check import memory, positive, threads, whole
from gapkit.descriptors.gto import SOAP_ARGUMENTS
from gapkit.descriptors.symmetry import PARAMETERS
from gapkit.errors import nearest
from gapkit.model.baseline_kinds import BASELINE_KINDS
from gapkit.model.term_kinds import TERM_KINDS
from gapkit.typing import KINDS, Kind

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table = Mapping[str, Any]
Sigmas = Mapping[Kind, float | None]

TERMS: dict[str, Any] = dict(TERM_KINDS)
"""Types of term and the classes whose arguments they take."""

BASELINES: dict[str, Any] = dict(BASELINE_KINDS)
"""The same of baselines."""

_TOP = ("terms", "baselines", "noise", "keys", "e0", "seed", "jobs", "max_memory")
_WEIGHTING = ("function", "r0", "c", "d", "m", "w0")
_COMPRESSION = ("mode", "species_weighting")


@dataclass(frozen=True)
class Config:
    """What a configuration file sets.

    Attributes
    ----------
    path
        The file, for messages; empty without one.
    terms
        One table per term, its keys checked; None: chosen from the data.
    baselines
        One table per baseline, its keys checked; None: the default.
    noise, groups
        σ by kind, and by config_type and kind; None leaves a kind out.
    keys
        Names of the labels.
    e0
        Energies of isolated atoms by symbol, eV.
    seed, jobs, max_memory
        None where the file does not say.
    """

    path: str = ""
    terms: tuple[Table, ...] | None = None
    baselines: tuple[Table, ...] | None = None
    noise: Sigmas = field(default_factory=dict)
    groups: Mapping[str, Sigmas] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)
    e0: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    jobs: int | None = None
    max_memory: float | str | None = None


def keys_for(config: Config, model: GAP) -> Keys:
    """Names of the labels of frames for a model: those of the file, or without [keys] those that it was fitted with."""
    return (model.keys or Keys()) if config.keys == Keys() else config.keys


def read_config(path: str | None) -> Config:
    """The settings of a file; the empty `Config` without a file.

    Raises
    ------
    ConfigError
        The file is missing or no TOML (with the line); a table, key or value is unknown or of the wrong type.
    """
    if path is None:
        return Config()
    with of_file(path):
        document = _parse(Path(path))
        _known(document, _TOP, "at the top of the file")
        noise = _table(document, "noise")
        _known(noise, (*KINDS, "groups"), "in [noise]")
        groups = _table(noise, "groups", "noise.groups")
        return Config(
            path=path,
            terms=_terms(document["terms"]) if "terms" in document else None,
            baselines=_baselines(document["baselines"]) if "baselines" in document else None,
            noise=_sigmas({k: v for k, v in noise.items() if k != "groups"}, "noise"),
            groups={g: _sigmas(_table(groups, g, f"noise.groups.{g}"), f"noise.groups.{g}") for g in groups},
            keys=_keys(_table(document, "keys")),
            e0=_e0(_table(document, "e0")),
            seed=whole("seed", document["seed"], 0) if "seed" in document else None,
            jobs=threads(document["jobs"]) if "jobs" in document else None,
            max_memory=_amount(document.get("max_memory")),
        )


@contextmanager
def of_file(path: str) -> Iterator[None]:
    """Adds the file to a ConfigError that does not say yet where it is."""
    try:
        yield
    except ConfigError as error:
        if error.where or not path:
            raise
        raise ConfigError(error.what, where=path, fix=error.fix) from error


def _parse(path: Path) -> Table:
    if path.is_dir():
        raise ConfigError("the configuration file is a directory", fix="give a file in it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        fix = "correct that line; text stands in quotes, tables in [brackets], terms in [[terms]]"
        raise ConfigError(f"the configuration file is not valid TOML: {error}", fix=fix) from error
    except FileNotFoundError as error:
        raise ConfigError("the configuration file does not exist", fix="check the path and its spelling") from error
    except OSError as error:
        what = f"the configuration file cannot be read: {error.strerror or error}"
        raise ConfigError(what, fix="give a file that you may read") from error
    except UnicodeDecodeError as error:
        raise ConfigError("the configuration file is not text in UTF-8", fix="save it as UTF-8") from error


def _known(table: Table, valid: Iterable[str], place: str, elsewhere: Iterable[str] = (), below: str = "") -> None:
    """ConfigError for the first key that is not valid, with the nearest one; `elsewhere`: those of [terms.`below`]."""
    valid, elsewhere = list(valid), list(elsewhere)
    for key in table:
        if key not in valid:
            moved = "write it above the first table; " if key in _TOP else ""
            moved = f"write it below [terms.{below}]; " if key in elsewhere else moved
            raise ConfigError(f"unknown key '{key}' {place}", fix=moved + nearest(key, valid))


def _table(parent: Table, key: str, name: str = "") -> Table:
    value = parent.get(key, {})
    if not isinstance(value, Mapping):
        name = name or key
        raise ConfigError(f"'{name}' is {value!r} where a table is needed", fix=f"write [{name}] and its keys below it")
    return value


def _amount(value: Any) -> Any:
    memory("max_memory", value)
    return value


def _terms(value: Any) -> tuple[Table, ...]:
    tables = _typed(value, "terms", TERMS)
    if not tables:
        fix = '[[terms]] in double brackets, then type = "soap", "pair", "triplet" or "acsf"'
        raise ConfigError("'terms' is not a list of tables", fix=f"write {fix}; leave it out for default terms")
    for k, table in enumerate(tables, 1):
        kind = table["type"]
        inner = _arguments(kind)
        place = f"in [[terms]] number {k} ({kind})"
        _known(table, ("type", *TERMS[kind]().get_params(deep=False)), place, inner, kind)
        if inner and kind in table:
            own = _table(table, kind, f"terms.{kind}")
            _known(own, inner, f"in [terms.{kind}]")
            if kind == "soap":
                _check_soap(own)
    return tables


def _baselines(value: Any) -> tuple[Table, ...]:
    tables = _typed(value, "baselines", BASELINES)
    for k, table in enumerate(tables, 1):
        arguments = inspect.signature(BASELINES[table["type"]]).parameters
        place = f"in [[baselines]] number {k} ({table['type']})"
        _known(table, ("type", *arguments), place)
        for name, argument in arguments.items():
            if argument.default is argument.empty and name not in table:
                raise ConfigError(f"'{name}' is missing {place}", fix=f"write {name} = … below [[baselines]]")
    return tables


def _typed(value: Any, name: str, kinds: Mapping[str, Any]) -> tuple[Table, ...]:
    """A list of tables, each with the type of something that exists."""
    if not isinstance(value, list) or not all(isinstance(table, Mapping) for table in value):
        types = " or ".join(f'"{kind}"' for kind in kinds)
        fix = f"write [[{name}]] in double brackets, then type = {types}; leave it out for the default"
        raise ConfigError(f"'{name}' is not a list of tables", fix=fix)
    for k, table in enumerate(value, 1):
        if not isinstance(table.get("type"), str) or table["type"] not in kinds:
            given = f"type {table['type']!r} is unknown" if "type" in table else "the type is missing"
            raise ConfigError(f"{given} in [[{name}]] number {k}", fix=nearest(str(table.get("type", "")), kinds))
    return tuple(value)


def _arguments(kind: str) -> list[str]:
    """Keys of the table [terms.soap] or [terms.acsf]; none for other types."""
    return {"soap": list(SOAP_ARGUMENTS), "acsf": [*PARAMETERS, "species"]}.get(kind, [])


def _check_soap(soap: Table) -> None:
    """Names only: values are checked by dscribe itself."""
    for name, valid in {"weighting": _WEIGHTING, "compression": _COMPRESSION}.items():
        _known(_table(soap, name, f"terms.soap.{name}"), valid, f"in [terms.soap.{name}]")


def _sigmas(table: Table, name: str) -> Sigmas:
    _known(table, KINDS, f"in [{name}]")
    left_out = {kind for kind, value in table.items() if isinstance(value, str) and value.lower() == "none"}
    return {k: None if k in left_out else positive(f"[{name}] {k}", table[k]) for k in KINDS if k in table}


def _keys(table: Table) -> Keys:
    _known(table, [f.name for f in fields(Keys)], "in [keys]")
    if not isinstance(table.get("sigma_per_atom", False), bool):
        raise ConfigError("[keys] sigma_per_atom is no truth value", fix="write true or false, without quotes")
    return Keys(**table)


def _e0(table: Table) -> dict[str, float]:
    for symbol, energy in table.items():
        if atomic_numbers.get(symbol, 0) == 0:
            raise ConfigError(f"[e0] names '{symbol}', which is not an element", fix="use symbols such as Si")
        if isinstance(energy, bool) or not isinstance(energy, (int, float)) or not np.isfinite(energy):
            raise ConfigError(f"[e0] {symbol} = {energy!r} is not a finite number", fix="give the energy in eV")
    return {symbol: float(energy) for symbol, energy in table.items()}
