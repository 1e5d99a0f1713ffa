"""Settings of a model as the configuration file that `gapkit fit` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gapkit import GAP, ConfigError, Keys, Noise
from gapkit.cli.config import BASELINES, TERMS
from gapkit.typing import KINDS

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def settings_text(model: GAP, seed: int, comment: str = "") -> str:
    """TOML of a model with explicit terms and baselines.

    Raises
    ------
    ConfigError
        A setting that has no place in such a file.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines.append(f"seed = {seed}")
    if model.max_memory is not None:
        lines.append(f"max_memory = {_value(model.max_memory)}")
    for term in model.terms or ():
        lines += ["", *_entry("terms", term, TERMS)]
    if model.baselines is not None and not model.baselines:
        lines.insert(len(comment.splitlines()) + 1, "baselines = []")
    for baseline in model.baselines or ():
        lines += ["", *_entry("baselines", baseline, BASELINES)]
    return "\n".join([*lines, *_noise(model.noise), *_rest(model)]) + "\n"


def _entry(name: str, one: Any, kinds: Mapping[str, Any]) -> list[str]:
    """A term or a baseline; what is as usual is left out."""
    if one.kind not in kinds:
        raise ConfigError(f"there is no type '{one.kind}' in a configuration file", fix="save the model itself")
    usual = type(one)._defaults()
    lines, tables = [f"[[{name}]]", f'type = "{one.kind}"'], []
    for key, value in one.get_params(deep=False).items():
        if repr(value) == repr(usual[key]):
            continue
        if value is None:
            fix = "give it a value, or save the model itself"
            raise ConfigError(f"{key}=None of '{one.kind}' has no place in a configuration file", fix=fix)
        if isinstance(value, Mapping) and key == one.kind:  # [terms.soap]
            tables += [f"[{name}.{key}]", *_pairs(value)]
        else:
            lines += _pairs({key: value})
    return lines + tables


def _noise(noise: Noise | None) -> list[str]:
    """σ by kind and group; none where they are learned."""
    if noise is None:
        return []
    lines = ["", "[noise]", *_sigmas({kind: getattr(noise, kind) for kind in KINDS})]
    for group, own in (noise.groups or {}).items():
        lines += [f"[noise.groups.{_key(group)}]", *_sigmas(own)]
    return lines


def _sigmas(own: Mapping[str, Any]) -> list[str]:
    return _pairs({kind: "none" if sigma is None else sigma for kind, sigma in own.items()})


def _rest(model: GAP) -> list[str]:
    """Names of the labels, where they are not the usual ones, and energies of isolated atoms that were given."""
    lines = []
    usual = asdict(Keys())
    changed = {k: v for k, v in asdict(model.keys or Keys()).items() if v != usual[k]}
    if changed:
        lines += ["", "[keys]", *_pairs(changed)]
    if model.e0:
        lines += ["", "[e0]", *_pairs(model.e0)]
    return lines


def _pairs(table: Mapping[Any, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]


def _key(key: object) -> str:
    return str(key) if _BARE.fullmatch(str(key)) else _value(str(key))


def _value(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in quoted) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(_pairs(value)).strip() + "}"
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
