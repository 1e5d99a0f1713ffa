"""`gapkit predict` on real silicon: what it writes is what Python says, and no label."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, Noise, PairTerm, SoapTerm, load
from gapkit.atoms.labels import to_frames
from gapkit.cli.main import main
from tests.conftest import Silicon
from tests.samples import soap_arguments


@pytest.fixture(scope="module")
def folder(silicon: Silicon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """si.gap, and new.xyz: a crystal and a surface with their labels, a molecule without a cell and an atom."""
    folder = tmp_path_factory.mktemp("predict")
    small = sorted(silicon.train, key=len)
    terms = [PairTerm(3.6, n_sparse=5), SoapTerm(soap_arguments(), n_sparse=20)]
    GAP(terms, Noise(0.01, 0.1, 0.1), e0={"Si": -0.8}).fit(small[:8]).save(folder / "si.gap")
    molecule = Atoms("Si3", [[0, 0, 0], [2.3, 0, 0], [0, 2.3, 0]])
    ase.io.write(folder / "new.xyz", [small[9], small[-1], molecule, Atoms("Si")])
    return folder


def test_what_is_written_is_what_python_says(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = tmp_path / "out.xyz", load(folder / "si.gap")
    assert (
        main(["predict", str(folder / "si.gap"), str(folder / "new.xyz"), "-o", str(out), "--std", "--jobs", "1"]) == 0
    )
    assert f"wrote {out} (4 frames" in capsys.readouterr().out
    given, written = ase.io.read(folder / "new.xyz", ":"), ase.io.read(out, ":")
    for atoms, old in zip(written, given, strict=True):
        periodic = bool(old.pbc.any())
        want = {"energy", "forces", "energy_std", "forces_std", "extrapolation"}
        p = model.predict(old, want | ({"stress", "stress_std"} if periodic else set()))
        for name in ("energy", "energy_std", "stress", "stress_std"):
            if periodic or not name.startswith("stress"):
                assert atoms.info[f"gapkit_{name}"] == pytest.approx(getattr(p, name), rel=1e-6, abs=1e-7)
        assert ("gapkit_stress" in atoms.info) == periodic
        for name in ("forces", "forces_std", "extrapolation"):
            assert atoms.arrays[f"gapkit_{name}"] == pytest.approx(getattr(p, name), abs=1e-7)
        assert np.allclose(atoms.positions, old.positions, atol=1e-7)
        assert atoms.info.get("config_type") == old.info.get("config_type")


def test_labels_stay_and_predictions_are_none(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xyz"
    main(["predict", str(folder / "si.gap"), str(folder / "new.xyz"), "-o", str(out)])
    given, written = (to_frames(ase.io.read(path, ":")) for path in (folder / "new.xyz", out))
    assert [frame.kinds for frame in written] == [frame.kinds for frame in given]
    assert written[1].energy == pytest.approx(given[1].energy, rel=1e-9)
    assert [name for name in ase.io.read(out, 0).info if name.endswith("std")] == []


@pytest.mark.parametrize(("name", "message"), [("out.cif", "ends in .xyz"), ("new.xyz", "also an input")])
def test_places_that_are_refused(folder: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(folder / "si.gap"), str(folder / "new.xyz"), "-o", str(folder / name)]
    assert main(words) == 2
    assert message in capsys.readouterr().err
