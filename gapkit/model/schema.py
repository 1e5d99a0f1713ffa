"""The content of a model file: settings as JSON, arrays by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.atoms.keys import Keys
from gapkit.baselines.base import Baseline
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.soap_points import SoapPoints
from gapkit.gp.calibration import Calibration
from gapkit.gp.compress import CompressedRows, RowKey
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import Posterior
from gapkit.gp.term import Origins, SparseTerm
from gapkit.model.archive import SCHEMA, Arrays
from gapkit.model.baseline_kinds import BASELINE_KINDS
from gapkit.model.state import ModelState, Source
from gapkit.model.term_kinds import TERM_KINDS
from gapkit.model.terms import Json, Term

_CONVENTIONS = {
    "energy": "eV",
    "length": "angstrom",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3, tension positive, Voigt xx yy zz yz xz xy",
    "sigma": "energy and virial per atom, times sqrt(N)",
}


def _describe_term(settings: Term, term: SparseTerm, arrays: Arrays) -> Json:
    """A term as JSON types; its arrays are added to `arrays` under the term's name."""
    entry: Json = {"type": settings.kind, "name": term.name, "delta": term.delta, "channels": []}
    entry |= settings.describe(term, arrays)
    for channel, points in term.points.items():
        species, known = [chemical_symbols[z] for z in channel], channel in term.origins
        key = f"{term.name}.{'-'.join(species)}"
        entry["channels"].append({"species": species, "widths": list(_widths(points)), "origins": known})
        arrays[f"{key}.points"] = points.x_md
        if known:
            arrays[f"{key}.origins"] = np.stack([term.origins[channel].frame_m, term.origins[channel].atom_m])
        if isinstance(points, SoapPoints) and points.map_fd is not None:
            arrays[f"{key}.map"] = points.map_fd
    return entry


def _widths(points: Any) -> tuple[int, ...]:
    """Columns of each block of the map of SOAP vectors; none for other features."""
    return points.widths_l if isinstance(points, SoapPoints) else ()


def _build_term(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SparseTerm:
    """The term that `_describe_term` described."""
    name: str = entry["name"]
    points: dict[tuple[int, ...], Any] = {}
    origins: dict[tuple[int, ...], Origins] = {}
    descriptor, kernel = TERM_KINDS[entry["type"]].build(entry, arrays)
    for channel in entry["channels"]:
        key = f"{name}.{'-'.join(channel['species'])}"
        numbers = tuple(atomic_numbers[s] for s in channel["species"])
        x_md = arrays[f"{key}.points"]
        if isinstance(descriptor, Soap):
            points[numbers] = SoapPoints(descriptor.basis, x_md, arrays.get(f"{key}.map"), tuple(channel["widths"]))
        else:
            points[numbers] = descriptor.points(x_md)
        if channel["origins"]:
            frame_m, atom_m = arrays[f"{key}.origins"]
            if not len(frame_m) == len(atom_m) == len(x_md):
                raise ValueError(f"{len(frame_m)} origins of the {len(x_md)} sparse points of {key}")
            origins[numbers] = Origins(frame_m, atom_m)
    return SparseTerm(name, descriptor, kernel, entry["delta"], points, origins)


def _build_settings(entry: Mapping[str, Any]) -> Term:
    return TERM_KINDS[entry["type"]](**{k: v for k, v in entry.items() if k != "type"})


def _build_baseline(entry: Mapping[str, Any]) -> Baseline:
    return BASELINE_KINDS[entry["type"]](**{k: v for k, v in entry.items() if k != "type"})


def columns_of(state: ModelState) -> tuple[list[Json], Arrays]:
    """What the kernel columns of a model are: its terms without δ, as in its file."""
    arrays: Arrays = {}
    entries = [_describe_term(s, t, arrays) for s, t in zip(state.settings, state.terms, strict=True)]
    return [{k: v for k, v in entry.items() if k != "delta"} for entry in entries], arrays


def known_physics_of(state: ModelState) -> Json:
    """What a model subtracts from labels, as in its file."""
    return {
        "e0": {chemical_symbols[z]: e for z, e in state.e0.items()},
        "baselines": [{"type": b.kind, **b.get_params(deep=False)} for b in state.baselines],
        "charges": state.keys.charges,
    }


def describe(state: ModelState, *, data: bool) -> tuple[Json, Arrays]:
    """Document and arrays of a model, with or without the compressed training data."""
    posterior = state.posterior
    arrays: Arrays = {
        "weights": posterior.weights_m,
        "prior": state.prior_mm,
        "posterior": posterior.data_mm,
        "hashes": state.hashes,
    }
    document: Json = {
        "conventions": _CONVENTIONS,
        **known_physics_of(state),
        "keys": {name: key for name, key in asdict(state.keys).items() if name != "charges"},
        "noise": state.noise.get_params(deep=False),
        "log_evidence": posterior.log_evidence,
        "terms": [_describe_term(s, t, arrays) for s, t in zip(state.settings, state.terms, strict=True)],
        "settings": [{"type": s.kind, **s.settings(t)} for s, t in zip(state.settings, state.terms, strict=True)],
        "training": dict(state.training),
        "rows": None,
        "sources": [{"frame": frame, **source._asdict()} for frame, source in state.sources.items()],
        "calibration": None,
    }
    if state.calibration is not None:
        document["calibration"], own = state.calibration.describe()
        arrays |= own
    if data and state.rows is not None:
        arrays |= {f"rows.{k}": part.factor_nm for k, part in enumerate(state.rows)}
        document["rows"] = [
            {"key": list(part.key), "n_rows": part.n_rows, "log_scale": part.log_scale} for part in state.rows
        ]
    return document, arrays


def _from_1(document: Json) -> Json:
    """Schema 2 knows where sparse points come from, and the calibration."""
    terms = [{**t, "channels": [{**c, "origins": False} for c in t["channels"]]} for t in document["terms"]]
    return {**document, "terms": terms, "sources": [], "calibration": None}


def _from_2(document: Json) -> Json:
    """Schema 3 knows baselines."""
    return {**document, "baselines": [], "charges": Keys().charges}


def _from_3(document: Json) -> Json:
    """Schema 4 knows the names of the labels, and how smoothly ZBL begins."""
    older = [{**b, "smoothness": 2} if b["type"] == "zbl" else b for b in document["baselines"]]
    return {**document, "keys": {}, "baselines": older}


def _from_4(document: Json) -> Json:
    """Schema 5 knows what share of the prior part errors have."""
    calibration = document["calibration"]
    return {**document, "calibration": calibration and {**calibration, "prior_share": None}}


_STEPS: dict[int, Callable[[Json], Json]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4}
"""What makes a document of each schema one of the next."""


def build(document: Json, arrays: Arrays) -> ModelState:
    """The model that `describe` described, now or when gapkit was younger."""
    for schema in range(int(document["schema"]), SCHEMA):
        document = _STEPS[schema](document)
    prior_mm = np.asfortranarray(arrays["prior"])
    data_mm = np.asfortranarray(arrays["posterior"])
    rows, calibration = document["rows"], document["calibration"]
    terms = [_build_term(entry, arrays) for entry in document["terms"]]
    m = sum(term.n_columns for term in terms)
    if not terms or arrays["weights"].shape != (m,) or not prior_mm.shape == data_mm.shape == (m, m):
        raise ValueError(f"the arrays do not belong to {len(terms)} terms of {m} sparse points")
    return ModelState(
        settings=[_build_settings(entry) for entry in document["settings"]],
        terms=terms,
        noise=Noise(**document["noise"]),
        e0={atomic_numbers[symbol]: e for symbol, e in document["e0"].items()},
        baselines=[_build_baseline(entry) for entry in document["baselines"]],
        prior_mm=prior_mm,
        posterior=Posterior(arrays["weights"], prior_mm, data_mm, document["log_evidence"]),
        rows=None
        if rows is None
        else [
            CompressedRows(RowKey(*e["key"]), arrays[f"rows.{k}"], e["n_rows"], e["log_scale"])
            for k, e in enumerate(rows)
        ],
        hashes=arrays["hashes"],
        training=document["training"],
        calibration=None if calibration is None else Calibration.build(calibration, arrays),
        keys=Keys(**document["keys"], charges=document["charges"]),
        sources={int(e["frame"]): Source(e["where"], e["group"]) for e in document["sources"]},
    )
