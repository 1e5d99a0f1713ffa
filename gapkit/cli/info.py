"""`gapkit info`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ase.data import chemical_symbols

from gapkit import GAP, Noise, __version__, load
from gapkit.cli.output import size_of
from gapkit.cli.report import MOST_GROUPS, SHOWN_GROUPS, columns, plain
from gapkit.model.archive import read
from gapkit.model.known import named
from gapkit.typing import KINDS, Kind
from gapkit.units import SIGMA_UNITS

_RESIDUAL_UNITS: Final[dict[Kind, tuple[str, float]]] = {
    "energy": ("meV", 1e3),
    "forces": ("eV/Å", 1.0),
    "stress": ("meV", 1e3),
}
_SHOWN: Final[dict[str, list[tuple[str, ...]]]] = {
    "pair": [("r_cut", "width", "theta", "delta")],
    "triplet": [("r_cut", "width", "theta", "delta")],
    "acsf": [("r_cut", "theta", "delta"), ("g2_params", "g3_params", "g4_params", "g5_params")],
    "soap": [
        ("r_cut", "n_max", "l_max", "sigma", "zeta", "delta"),
        ("rbf", "weighting", "compression", "engine"),
    ],
}
"""Settings of a term that are shown, line by line."""
_MANY: Final = 6
_UNITS: Final = {"r_cut": " Å", "width": " Å", "theta": " Å", "sigma": " Å", "delta": " eV"}


def run(arguments: argparse.Namespace) -> None:
    """Say what a model file holds."""
    path = Path(arguments.model)
    model = load(path)
    document, arrays = read(path)
    head = [
        ("file", f"{path} ({size_of(path)})"),
        ("format", f"{document['format']}, schema {document['schema']} (this is gapkit {__version__})"),
        ("species", ", ".join(_element(model, z) for z in model.species_)),
        ("training", f"{model.training_['frames']} frames, {model.training_['atoms']} atoms"),
        *_noise(model.state_.noise),
        ("log evidence", f"{model.log_evidence_:.1f}"),
        ("calibration", _calibration(model)),
        ("data", "kept, `refit` works" if document["rows"] else "not kept, `refit` needs a file of fit --keep-data"),
    ]
    lines = [*columns(head, left=2), "", "baselines and terms"]
    for name, baseline in named(model.state_.baselines):
        lines.append(f"  {name:9}{_baseline(baseline.get_params(deep=False))}")
    for entry in document["terms"]:
        lines += [f"  {line}" for line in _term(entry, arrays)]
    lines += ["", "residuals of the fit (rms; energy and virial divided by sqrt(N), as sigma is)", *_residuals(model)]
    lines += ["", "conventions", *(f"  {line}" for line in columns(document["conventions"].items(), left=2))]
    print("\n".join(lines))


def _noise(noise: Noise) -> Iterator[tuple[str, str]]:
    def text(sigmas: Mapping[Kind, float | None]) -> str:
        return ", ".join(
            f"{kind} left out" if sigma is None else f"{kind} {sigma:g} {SIGMA_UNITS[kind]}"
            for kind, sigma in sigmas.items()
        )

    yield "sigma", text({kind: getattr(noise, kind) for kind in KINDS})
    for group, own in (noise.groups or {}).items():
        yield f"sigma of {group}", text({kind: own[kind] for kind in KINDS if kind in own})


def _element(model: GAP, number: int) -> str:
    """An element, its e0, and where that is from if no isolated atom tells."""
    e0, guessed = model.e0_[number], number in model.state_.guessed
    source = "" if not guessed else ", by least squares" if e0 else ", since no energy tells it"
    return f"{chemical_symbols[number]} (e0 {e0:.6g} eV{source})"


def _calibration(model: GAP) -> str:
    """Which kinds are calibrated, and how much of the calibration values their σ covers."""
    if model.calibration_ is None:
        return "none: standard deviations are raw, see gapkit calibrate"
    parts = [
        f"{kind} ({report['n_frames']} frames, {100 * report['coverage_68']:.0f} % within sigma)"
        for kind, report in model.calibration_.report.items()
    ]
    return ", ".join(parts)


def _term(entry: Mapping[str, Any], arrays: Mapping[str, Any]) -> Iterator[str]:
    """Settings of a term, then its sparse points per channel."""
    kind = entry["type"]
    settings = {**entry.get(kind, {}), **entry}
    for k, names in enumerate(_SHOWN[kind]):
        text = ", ".join(_setting(kind, name, settings[name]) for name in names if settings[name] is not None)
        if text:
            yield f"{entry['name'] if k == 0 else '':9}{text}"
    for channel in entry["channels"]:
        label = "-".join(channel["species"])
        n_points, rank = arrays[f"{entry['name']}.{label}.points"].shape
        mapping = arrays.get(f"{entry['name']}.{label}.map")
        space = f"{rank} features, not projected" if mapping is None else f"rank {rank} of {len(mapping)} features"
        space = {"soap": f", {space}", "acsf": f", {rank} features"}.get(kind, "")
        yield f"{'':9}{label}: {n_points} sparse points{space}"


def _baseline(settings: Mapping[str, Any]) -> str:
    """Settings of a baseline in one line; tables of many pairs of elements by their range."""
    texts = []
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping) and len(value) > _MANY:
            numbers = [float(x) for x in value.values()]
            texts.append(f"{name} {min(numbers):.3g} to {max(numbers):.3g} for {len(value)} pairs")
        elif value is not None:
            texts.append(f"{name} {plain(value)}")
    return ", ".join(texts)


def _setting(kind: str, name: str, value: Any) -> str:
    """A setting and its value: theta 0.8 Å; 11 G2 functions; the theta of symmetry functions has no unit."""
    if name.endswith("_params"):
        return f"{len(value)} {name.removesuffix('_params').upper()}"
    unit = "" if (kind, name) == ("acsf", "theta") else _UNITS.get(name, "")
    return f"{name} {plain(value)}{unit}"


def _residuals(model: GAP) -> list[str]:
    """Rms residuals of the fit, a row per config_type; they compare directly with sigma."""
    cells: dict[str, dict[str, str]] = {}
    size: dict[str, float] = {}
    for entry in model.training_["errors"]:
        unit, scale = _RESIDUAL_UNITS[entry["kind"]]
        text = f"{entry['rms']:.3g} sigma" if entry.get("own") else f"{scale * entry['rms']:.4g} {unit}"
        label = entry["group"] + (" (own sigma)" if entry.get("own") else "")
        cells.setdefault(label, {})[entry["kind"]] = text
        if entry["kind"] == "forces":
            size[label] = entry["rms"]
    kinds = [kind for kind in KINDS if any(kind in own for own in cells.values())]
    shown = sorted(cells)
    if len(cells) > MOST_GROUPS:
        shown = sorted(sorted(cells, key=lambda group: -size.get(group, 0.0))[:SHOWN_GROUPS])
    rows = [["config_type", *kinds], *([group, *(cells[group].get(k, "-") for k in kinds)] for group in shown)]
    if len(shown) < len(cells):
        rows.append([f"… {len(cells) - len(shown)} more", *([""] * len(kinds))])
    return [f"  {line}" for line in columns(rows)]
