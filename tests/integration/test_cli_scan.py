"""`gapkit scan` on real silicon, small settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import pytest

from gapkit import evaluate, load, read_frames
from gapkit.cli.main import main
from tests.conftest import Silicon

SMALL = ["--n-sparse", "25", "--r-cut", "4", "--n-max", "3", "--l-max", "2", "--jobs", "1", "--sigma-stress", "none"]


@pytest.fixture(scope="module")
def folder(silicon: Silicon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.xyz, new.xyz, si.gap without and data.gap with the data of the fit."""
    folder = tmp_path_factory.mktemp("scan")
    parts = [sorted((a for a in silicon.train if a.info["config_type"] == g), key=len) for g in ("Elastic", "Surface")]
    ase.io.write(folder / "train.xyz", [a for part in parts for a in part[:12:2]])
    ase.io.write(folder / "new.xyz", [a for part in parts for a in part[1:8:2]])
    assert main(["fit", str(folder / "train.xyz"), "-o", str(folder / "si.gap"), *SMALL]) == 0
    assert main(["fit", str(folder / "train.xyz"), "-o", str(folder / "data.gap"), *SMALL, "--keep-data"]) == 0
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def words(*argv: object, status: int = 0) -> tuple[str, str]:
        found = main(["scan", *map(str, argv)])
        out, err = capsys.readouterr()
        assert found == status, err
        return out, err

    return words


def test_front_choice_and_files(folder: Path, run: Any, tmp_path: Path) -> None:
    """What is printed, written as JSON, drawn and saved is the same front."""
    first, _ = run(folder / "data.gap", folder / "new.xyz", "--grid", 20, "--json", tmp_path / "a.json", "--jobs", 1)
    document = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert len(document["points"]) == 20
    assert "the best of 20 models" in first
    assert "as it was" in first
    assert document["verdict"] in first
    front = [p["values"] for p in document["points"] if p["on_front"]]
    bound = sorted(v["energy"] for v in front)[len(front) // 2] + 1e-3
    out, _ = run(
        *(folder / "data.gap", folder / "new.xyz", "--grid", 20, "--max", f"energy={bound}", "--jobs", 1),
        *("-o", tmp_path / "best.gap", "--plot", tmp_path / "front.png"),
    )
    assert out.startswith(first.strip()[:200])
    chosen = load(tmp_path / "best.gap")
    errors = evaluate(chosen, read_frames(folder / "new.xyz")).as_dict()
    assert errors["energy"]["mae_meV_per_atom"] <= bound
    assert errors["forces"]["mae_eV_per_A"] == pytest.approx(
        min(v["forces"] for v in front if v["energy"] <= bound), rel=1e-5
    )
    assert f"chosen: sigma energy {chosen.noise.energy:.3g} eV/atom, sigma forces {chosen.noise.forces:.3g} eV/Å" in out
    assert chosen.state_.rows is not None
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes(folder: Path, run: Any, tmp_path: Path) -> None:
    """Each ends with status 2, one line, and no file."""
    data, new = folder / "data.gap", folder / "new.xyz"
    for words, text in (
        ((data, folder / "train.xyz"), "12 of 12 frames were in the fit"),
        ((folder / "si.gap", new), "this model was saved without its compressed data"),
        ((data, new, "--objectives", "energy,force"), "'force' is no objective"),
        ((data, new, "--max", "energy"), "--max energy is no bound. Fix: give --max energy=2.2"),
        ((data, new, "--max", "force=0.1"), "--max force=0.1 bounds no objective. Fix: did you mean 'forces'"),
        ((data, new, "--grid", 4, "--max", "energy=1e-9"), "no model keeps these bounds"),
        ((data, new, "--plot", tmp_path / "a.jpeg"), "cannot be written as 'a.jpeg'"),
        ((data, new, "-o", data), "the output file is also an input"),
        ((data, new, "--json", tmp_path / "x.gap"), "two output files have this name"),
    ):
        _, err = run(*words, *([] if "-o" in words else ["-o", tmp_path / "x.gap"]), "--jobs", 1, status=2)
        assert text in err
        assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
