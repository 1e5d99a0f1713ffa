"""`gapkit calibrate` on real silicon, small settings."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import ase.io
import pytest
from ase.units import GPa

from gapkit import GapkitWarning, load, read_frames
from gapkit.cli.info import _calibration
from gapkit.cli.main import main
from gapkit.uncertainty import calibrate
from tests.conftest import Silicon

SMALL = ["--n-sparse", "25", "--r-cut", "4", "--n-max", "3", "--l-max", "2", "--jobs", "1"]


@pytest.fixture(scope="module")
def folder(silicon: Silicon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.xyz, test.xyz, si.gap without and data.gap with the data of the fit."""
    folder = tmp_path_factory.mktemp("calibrate")
    parts = [sorted((a for a in silicon.train if a.info["config_type"] == g), key=len) for g in ("Elastic", "Surface")]
    ase.io.write(folder / "train.xyz", [a for part in parts for a in part[:12:2]])
    ase.io.write(folder / "test.xyz", [a for part in parts for a in part[1:12:2]])
    assert main(["fit", str(folder / "train.xyz"), "-o", str(folder / "si.gap"), *SMALL]) == 0
    assert main(["fit", str(folder / "train.xyz"), "-o", str(folder / "data.gap"), *SMALL, "--keep-data"]) == 0
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def words(*argv: object, status: int = 0) -> tuple[str, str]:
        found = main(["calibrate", *map(str, argv)])
        out, err = capsys.readouterr()
        assert found == status, err
        return out, err

    return words


def test_new_frames(folder: Path, run: Any, tmp_path: Path) -> None:
    """The table, the file and JSON say what Python says, in the units that they name."""
    target, report = tmp_path / "c.gap", tmp_path / "r.json"
    before = (folder / "si.gap").read_bytes()
    out, err = run(folder / "si.gap", folder / "test.xyz", "-o", target, "--json", report, "--jobs", 1)
    assert (folder / "si.gap").read_bytes() == before
    model = load(folder / "si.gap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GapkitWarning)
        expected = calibrate(model, read_frames(folder / "test.xyz")).report
    assert "gapkit: warning: energy: only 12 frames to calibrate with" in err
    assert load(target).calibration_.report == expected
    document = json.loads(report.read_text(encoding="utf-8"))
    assert list(document) == list(expected)
    assert document["energy"]["rms_error_meV_per_atom"] == pytest.approx(1e3 * expected["energy"]["rms_error"])
    assert document["forces"]["crps_eV_per_A"] == pytest.approx(expected["forces"]["crps"])
    assert document["forces"]["nll"] == pytest.approx(expected["forces"]["nll"])
    assert document["stress"]["rms_std_GPa"] == pytest.approx(expected["stress"]["rms_std"] / GPa)
    energy, forces = document["energy"], document["forces"]
    for line in [
        r"\s+energy \(meV/atom\)\s+forces \(eV/Å\)",
        rf"frames\s+{energy['n_frames']}\s+{forces['n_frames']}",
        rf"rms error\s+{energy['rms_error_meV_per_atom']:.3f}\s+{forces['rms_error_eV_per_A']:.4f}",
        rf"within 1 sigma, 68 % expected\s+{100 * energy['coverage_68']:.1f} %\s+{100 * forces['coverage_68']:.1f} %",
        rf"knots\s+{energy['knots']}\s+{forces['knots']}",
        rf"  forces\s+{forces['ratio_by_sigma'][0]:.2f}",
        rf"wrote {re.escape(str(target))} \([\d.]+ kB\)",
    ]:
        assert re.search(rf"^{line}", out, re.MULTILINE), line
    # the model predicts with it
    atoms = read_frames(folder / "test.xyz")[0]
    assert load(target).predict(atoms, "energy_std").energy_std == model.predict(atoms, "energy_std").energy_std


def test_leave_one_out_replaces_the_model(folder: Path, run: Any, tmp_path: Path) -> None:
    for name, kept in (("si.gap", False), ("data.gap", True)):
        path = tmp_path / name
        path.write_bytes((folder / name).read_bytes())
        out, err = run(path, folder / "train.xyz", "--leave-one-out", "--plot", tmp_path / "p.png", "--seed", 3)
        assert "training frames, each left out" in out
        model = load(path)
        assert (model.state_.rows is not None) == kept  # what it holds is kept
        assert model.calibration_ is not None
        assert re.search(r"forces \(\d+ frames, \d+ % within sigma\)", _calibration(model))  # what `gapkit info` says
        assert ("only single frames were left out" in err) == (not kept)
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.gap", "p.png", "si.gap"]


def test_mistakes(folder: Path, run: Any, tmp_path: Path) -> None:
    model, train = folder / "si.gap", folder / "train.xyz"
    before = model.read_bytes()
    _, err = run(model, train, status=2)
    assert re.search(r"error: 12 of 12 frames were in.* \(\S+train\.xyz, frame 0\)\. Fix: .*--leave-one-out", err)
    assert "was not in the fit" in run(model, folder / "test.xyz", "--leave-one-out", status=2)[1]
    assert "is also an input" in run(model, train, "-o", train, status=2)[1]
    assert "is also an input" in run(model, train, "--json", model, status=2)[1]
    assert "did you mean 'png'" in run(model, train, "--plot", tmp_path / "p.pnq", status=2)[1]
    ase.io.write(tmp_path / "few.xyz", read_frames(folder / "test.xyz")[:3])
    assert "3 frames are too few" in run(model, tmp_path / "few.xyz", status=2)[1]
    assert model.read_bytes() == before


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Without -o the model file is replaced." in out
    assert "Make standard deviations agree with errors." in out
