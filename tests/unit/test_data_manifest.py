"""data/MANIFEST.toml tells the truth about every file in data/."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DATA = Path(__file__).parents[2] / "data"
MANIFEST: dict[str, dict[str, Any]] = tomllib.loads((DATA / "MANIFEST.toml").read_text(encoding="utf-8"))
FILES: list[dict[str, Any]] = [entry for folder in MANIFEST.values() for entry in folder["file"]]
STRUCTURES = [entry for entry in FILES if entry["path"].endswith(".xyz")]
PROVENANCE = {"what", "method", "source", "commit", "publication", "licence", "units", "conventions", "conversion"}

each_structure_file = pytest.mark.parametrize("entry", STRUCTURES, ids=lambda entry: entry["path"])


def read(entry: dict[str, Any]) -> list[Atoms]:
    return ase.io.read(DATA / entry["path"], ":")


def test_every_file_is_listed_once_and_no_other() -> None:
    on_disk = Counter(str(path.relative_to(DATA).as_posix()) for path in DATA.rglob("*") if path.is_file())
    assert Counter(["MANIFEST.toml", *(entry["path"] for entry in FILES)]) == on_disk


def test_data_stay_small_enough_to_clone() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 5_000_000


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["path"])
def test_hash(entry: dict[str, Any]) -> None:
    assert hashlib.sha256((DATA / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]


@pytest.mark.parametrize("folder", MANIFEST)
def test_provenance_is_complete_and_the_licence_is_there(folder: str) -> None:
    about = MANIFEST[folder]
    assert not {key for key in PROVENANCE if not about.get(key)}
    assert set(about["units"]) == {"energy", "length", "forces", "stress"}
    assert len(about["commit"]) == 40
    assert "Copyright (c)" in (DATA / folder / "LICENSE").read_text(encoding="utf-8")
    assert all(entry["path"].startswith(f"{folder}/") for entry in about["file"])


@each_structure_file
def test_counts(entry: dict[str, Any]) -> None:
    frames = read(entry)
    assert (len(frames), sum(map(len, frames))) == (entry["frames"], entry["atoms"])
    assert Counter(atoms.info["config_type"] for atoms in frames) == entry["groups"]
    doubtful = Counter(atoms.info["stress_quality"] for atoms in frames)["shear_order_unknown"]
    assert doubtful == entry["stress_unknown"]


@each_structure_file
def test_labels_are_there_and_finite(entry: dict[str, Any]) -> None:
    for atoms in read(entry):
        has_stress = atoms.info["stress_quality"] == "ok"
        assert set(atoms.calc.results) == set(entry["labels"]) - (set() if has_stress else {"stress"})
        numbers = [atoms.positions, atoms.cell.array, *atoms.calc.results.values()]
        assert all(np.isfinite(array).all() for array in numbers)
        assert atoms.get_forces().shape == (len(atoms), 3)
        assert not has_stress or atoms.get_stress().shape == (6,)


AT_REST = {"silicon": ((-5.426, -4.5), 20.45, 88.0), "molybdenum": ((-10.851, -9.4), 15.95, 265.0)}
"""PBE in VASP: range of energies (eV/atom), volume (Å³/atom) and bulk modulus (GPa) of the perfect crystal."""


@each_structure_file
def test_labels_have_the_units_and_signs_that_are_stated(entry: dict[str, Any]) -> None:
    frames = read(entry)
    (lowest, highest), volume_at_rest, modulus = AT_REST[entry["path"].split("/")[0]]
    assert all(lowest < atoms.get_potential_energy() / len(atoms) < highest for atoms in frames)
    assert all(np.abs(atoms.get_forces().sum(axis=0)).max() < 1e-6 for atoms in frames)
    strained = [atoms for atoms in frames if atoms.info["config_type"] == "Elastic"]
    volume = np.array([atoms.get_volume() / len(atoms) for atoms in strained])
    tension = np.array([atoms.get_stress()[:3].mean() for atoms in strained])
    slope, offset = np.polyfit(volume, tension, 1)
    at_rest = -offset / slope
    assert at_rest == pytest.approx(volume_at_rest, rel=0.02)
    assert slope * at_rest / ase.units.GPa == pytest.approx(modulus, rel=0.1)
