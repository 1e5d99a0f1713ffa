"""`gapkit extend`, and baselines in the configuration file of `gapkit fit`."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import Coulomb, load
from gapkit.cli.main import main
from tests.samples import crystal, fitted, frames, two_species


@pytest.fixture
def model(tmp_path: Path) -> Path:
    fitted().save(tmp_path / "si.gap")
    return tmp_path / "si.gap"


def written(path: Path, structures: list[Atoms]) -> str:
    ase.io.write(path, structures)
    return str(path)


def shifted(atoms: Atoms) -> Atoms:
    """The labels of another method: 0.5 eV more for each atom."""
    energy = atoms.get_potential_energy() + 0.5 * len(atoms)
    moved = atoms.copy()
    moved.calc = SinglePointCalculator(moved, energy=energy)
    return moved


def test_a_new_element(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = written(tmp_path / "new.xyz", two_species())
    assert main(["extend", str(model), new, "-o", str(tmp_path / "sic.gap"), "--n-sparse", "10", "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert "+ " in said.out
    assert "sparse points" in said.out
    wide = load(tmp_path / "sic.gap")
    assert wide.species_ == (6, 14)
    for atoms in two_species()[2:4]:
        assert wide.predict(atoms).energy == pytest.approx(atoms.get_potential_energy(), abs=0.05 * len(atoms))
    assert main(["info", str(tmp_path / "sic.gap")]) == 0
    assert "C: " in capsys.readouterr().out


def test_another_method(tmp_path: Path, model: Path) -> None:
    few = [shifted(a) for a in frames(12)[8:]]
    new = written(tmp_path / "new.xyz", few)
    assert main(["extend", str(model), new, "-o", str(tmp_path / "b.gap"), "--fine-tune", "--jobs", "1"]) == 0
    atoms = crystal(9)
    before, after = fitted().predict(atoms).energy, load(tmp_path / "b.gap").predict(atoms).energy
    assert after - before == pytest.approx(0.5 * len(atoms), abs=0.05 * len(atoms))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--old-frames", "OLD"], "frames are missing"),
        (["--n-sparse", "0"], "not a whole number of at least 1"),
        (["--fine-tune", "--old-frames", "OLD"], "not allowed with argument"),
    ],
)
def test_errors(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    new, old = written(tmp_path / "new.xyz", frames(9)[7:]), written(tmp_path / "old.xyz", frames(3))
    arguments = ["extend", str(model), new, "-o", str(tmp_path / "out.gap"), *(o.replace("OLD", old) for o in options)]
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.gap").exists()


def test_frames_that_are_in_the_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, target = written(tmp_path / "train.xyz", frames()), str(tmp_path / "out.gap")
    (tmp_path / "c.toml").write_text("[[terms]]\ntype = 'pair'\nr_cut = 3.5\nn_sparse = 6\n", encoding="utf-8")
    assert main(["fit", train, "-o", str(tmp_path / "a.gap"), "--config", str(tmp_path / "c.toml")]) == 0
    assert main(["extend", str(tmp_path / "a.gap"), train, "-o", target]) == 2
    said = capsys.readouterr().err
    assert "The frame is in the fit already" in said
    assert "train.xyz, frame 1" in said


def test_baselines_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        "[[baselines]]\ntype = 'zbl'\n[[baselines]]\ntype = 'coulomb'\ncharges = {Si = 1.0, C = -1.0}\n"
        "excess = 'share'\n[[terms]]\ntype = 'pair'\nr_cut = 3.5\nn_sparse = 6\n",
        encoding="utf-8",
    )
    train = written(tmp_path / "train.xyz", two_species())
    assert main(["fit", train, "-o", str(tmp_path / "ions.gap"), "--config", str(config)]) == 0
    assert "coulomb: charges (C -1, Si 1)" in capsys.readouterr().out.replace("Si 1, C -1", "C -1, Si 1")
    kinds = [b.kind for b in load(tmp_path / "ions.gap").state_.baselines]
    assert kinds == ["zbl", Coulomb.kind]
    assert main(["info", str(tmp_path / "ions.gap")]) == 0
    assert "excess share" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[baselines]]\ntype = 'zlb'", "type 'zlb' is unknown in [[baselines]] number 1"),
        ("[[baselines]]\ntype = 'coulomb'", "'charges' is missing"),
        ("[[baselines]]\ntype = 'zbl'\ninnr = 1.0", "unknown key 'innr'"),
        ("baselines = 3", "not a list of tables"),
    ],
)
def test_baselines_that_are_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text + "\n", encoding="utf-8")
    train = written(tmp_path / "train.xyz", frames())
    assert main(["fit", train, "-o", str(tmp_path / "x.gap"), "--config", str(tmp_path / "c.toml")]) == 2
    assert message in capsys.readouterr().err
