"""A model file of every schema, frozen with what it predicted on the day it was written.

The files are never written again: a new schema adds a new one, and the old ones must still load. The last was made by

    python -c "from tests.regression.test_frozen_models import freeze; freeze(5)"

in the root of the repository. Predictions may change by rounding only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import (
    GAP,
    ZBL,
    ACSFTerm,
    Calibration,
    Cohesion,
    Coulomb,
    Noise,
    PairTerm,
    Scale,
    SoapTerm,
    TripletTerm,
    load,
)
from gapkit.atoms.labels import to_frames
from gapkit.model.archive import SCHEMA
from tests.samples import soap_arguments, two_species

HERE = Path(__file__).parent
WANT = {"energy", "energies", "forces", "stress", "energy_std", "energies_std"}


def structures() -> dict[str, Atoms]:
    """What is predicted: fixed numbers, nothing random."""
    crystal = Atoms(
        "SiC", [[0.05, 0.0, -0.03], [1.1, 1.2, 1.15]], cell=[[0.1, 2.3, 2.3], [2.3, 0, 2.4], [2.2, 2.3, 0]], pbc=True
    )
    cluster = Atoms("SiCSi2", [[0, 0, 0], [1.9, 0.1, 0], [0, 2.2, 0.2], [0.3, 0.1, 2.4]])
    return {"crystal": crystal, "cluster": cluster, "atom": Atoms("C")}


def predictions(model: GAP) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, atoms in structures().items():
        p = model.predict(atoms, WANT if atoms.pbc.any() else WANT - {"stress"})
        # the standard deviations that are kept are those of the posterior, which no later calibration changes
        values: dict[str, Any] = {key: getattr(p, key.replace("_std", "_epistemic_std")) for key in sorted(WANT)}
        values["by_term"] = list(p.by_term.values())
        found[name] = {key: np.asarray(value).tolist() for key, value in values.items() if value is not None}
    return found


def learned(model: GAP) -> dict[str, Any]:
    """What is kept beside the numbers of a prediction."""
    found: dict[str, Any] = {"log_evidence": model.log_evidence_}
    if model.calibration_ is not None:
        settings, arrays = model.calibration_.describe()
        found["calibration"] = {**settings, **{name: array.tolist() for name, array in arrays.items()}}
    origins = [model.origin(column) for column in range(len(model.state_.posterior.weights_m))]
    return {**found, "origins": origins} if any(origins) else found


def calibration() -> Calibration:
    """A calibration of energies and forces, made by hand."""
    forces = {
        0: Scale(np.array([0.01, 0.1, 1.0]), np.array([0.03, 0.2, 4.0]), 0.5, 0.2),
        6: Scale(np.ones(1), np.ones(1)),
    }
    samples = np.array([[0.01, 0.02], [0.1, 0.05]])
    energy = {0: Scale(np.array([0.001]), np.array([0.0025]))}
    return Calibration({"energy": energy, "forces": forces}, {"forces": {"n": 2, "nll": -0.5}}, {"forces": samples})


def freeze(schema: int) -> None:
    """Write a model file and its predictions."""
    assert schema == SCHEMA
    weighting = {"function": "pow", "r0": 2.5, "c": 1.0, "d": 1.0, "m": 4.0, "w0": 0.7}
    weights = {"mode": "mu1nu1", "species_weighting": {"Si": 1.2, "C": 0.8}}
    terms = [
        PairTerm(3.5, n_sparse=6),
        SoapTerm(soap_arguments(), zeta=2, n_sparse=8),
        SoapTerm(soap_arguments(weighting=weighting, compression=weights), zeta=3, n_sparse=6, delta=0.2),
        SoapTerm(soap_arguments(), zeta=2, n_sparse=6, embedding=2, alchemical=True),
        TripletTerm(2.8, n_sparse=5),
        ACSFTerm({"r_cut": 3.4}, n_sparse=6),
    ]
    baselines = [ZBL(), Cohesion(), Coulomb({"Si": 1.0, "C": -1.0}, scale=0.5, excess="share")]
    noise = Noise(energy=0.002, forces=0.05, stress=0.02, groups={"isolated_atom": {"energy": 1e-4}})
    model = GAP(terms, noise, baselines=baselines).fit(to_frames(two_species(6), where="train.xyz"), rng=0)
    model.calibration_ = calibration()
    model.save(HERE / f"schema_{schema}.gap", data=True)
    text = json.dumps({**learned(model), **predictions(model)}, indent=1)
    (HERE / f"schema_{schema}.json").write_text(text + "\n", encoding="utf-8")


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_frozen_model_predicts_what_it_predicted(schema: int) -> None:
    expected = json.loads((HERE / f"schema_{schema}.json").read_text(encoding="utf-8"))
    model = load(HERE / f"schema_{schema}.gap")
    kept = learned(model)
    if schema < 5 and "calibration" in kept:
        del kept["calibration"]["prior_share"]  # not in these files
    assert kept == {name: expected.pop(name) for name in kept}
    found = predictions(model)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].keys() == values.keys()
        for key, value in values.items():
            tolerance = 1e-6 if key.endswith("_std") else 1e-9  # σ² is a difference of numbers near δ²
            assert np.array(found[name][key]) == pytest.approx(np.array(value), abs=tolerance), (name, key)


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_frozen_model_can_be_refitted_saved_and_fitted_again(schema: int, tmp_path: Path) -> None:
    model = load(HERE / f"schema_{schema}.gap")
    before = predictions(model)["crystal"]
    again = predictions(load(HERE / f"schema_{schema}.gap").refit())["crystal"]
    assert again["energy"] == pytest.approx(before["energy"], abs=1e-8)
    assert again["forces"] == pytest.approx(np.array(before["forces"]), abs=1e-7)
    model.save(tmp_path / "again.gap", data=True)
    assert predictions(load(tmp_path / "again.gap"))["crystal"] == before
    assert model.fit(two_species(6)).score(two_species(6)) > 0.5


def test_frozen_files_are_small() -> None:
    sizes = [path.stat().st_size for path in HERE.iterdir() if path.suffix in (".gap", ".json")]
    assert len(sizes) == 2 * SCHEMA
    assert sum(sizes) < 100_000 * SCHEMA
