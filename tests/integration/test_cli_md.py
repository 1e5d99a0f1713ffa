"""`gapkit md`: a run, its restart, every way it ends, and mistakes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from gapkit import Calibration, GAPCalculator, Scale, load
from gapkit.cli.main import main
from gapkit.cli.md import _dynamics, _Run
from tests.samples import fitted, fitted_two

pytestmark = pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")

Run = Callable[..., tuple[str, str]]
HOT = ("--temperature", 300, "--interval", 5, "--seed", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.gap, the calibrated c.gap, and si.xyz of 16 atoms."""
    folder = tmp_path_factory.mktemp("md")
    fitted().save(folder / "m.gap")
    model = load(folder / "m.gap")
    rng = np.random.default_rng(0)
    sigma_x = rng.uniform(0.05, 0.2, 2000)
    samples = np.stack([sigma_x, sigma_x * np.abs(rng.standard_normal(2000))], axis=1)
    one = Scale(np.ones(1), np.ones(1))
    model.calibration_ = Calibration({"forces": {0: one}}, {}, {"forces": samples})
    model.save(folder / "c.gap")
    atoms = bulk("Si", a=5.0) * 2
    atoms.rattle(0.03, seed=1)
    ase.io.write(folder / "si.xyz", [bulk("Si", a=4.0), atoms])
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `gapkit md` with these words; what it said to stdout and stderr."""

    def words(*argv: object, status: int = 0) -> tuple[str, str]:
        found = main(["md", *map(str, argv)])
        out, err = capsys.readouterr()
        assert found == status, err
        return out, err

    return words


def read(path: Path) -> list[Atoms]:
    return list(ase.io.read(path, ":"))


def steps(path: Path) -> list[int]:
    return [int(atoms.info["step"]) for atoms in read(path)]


def test_a_run(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "t.xyz"
    said, err = run(folder / "m.gap", folder / "si.xyz", *HOT, "--steps", 22, "--flag", 50, "-o", out)
    assert err.count("\n") == 1  # that the model is not calibrated
    assert "not calibrated" in err
    assert said.splitlines() == [
        f"16 atoms, Si16, from {folder / 'si.xyz'}",
        "Langevin at 300 K, 22 steps of 1 fs; flags where σ of the forces exceeds 50 eV/Å",
        f"done at step 22: 6 frames written to {out}, 0 flags",
    ]
    assert steps(out) == [0, 5, 10, 15, 20, 22]
    frames = read(out)
    assert frames[0].positions == pytest.approx(ase.io.read(folder / "si.xyz").positions, abs=1e-7)
    assert 50 < frames[0].get_temperature() < 700
    assert np.abs(frames[0].get_momenta().sum(axis=0)).max() < 1e-6
    for atoms in frames:
        p = load(folder / "m.gap").predict(atoms)
        assert atoms.get_potential_energy() == pytest.approx(p.energy, abs=1e-5)
        assert atoms.get_forces() == pytest.approx(p.forces, abs=1e-5)
        assert atoms.get_stress() == pytest.approx(p.stress, abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["t.xyz"]


def test_the_seed_decides(folder: Path, run: Run, tmp_path: Path) -> None:
    words = (folder / "m.gap", folder / "si.xyz", "--temperature", 300, "--steps", 5, "--flag", "none")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(*words, "-o", tmp_path / f"{name}.xyz", "--seed", seed)
    assert (tmp_path / "a.xyz").read_bytes() == (tmp_path / "b.xyz").read_bytes()
    assert (tmp_path / "a.xyz").read_bytes() != (tmp_path / "c.xyz").read_bytes()


def test_restart_at_constant_energy_is_the_run_that_was_not_interrupted(folder: Path, run: Run, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.xyz", tmp_path / "parts.xyz"
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--thermostat", "nve", "--flag", 50)
    run(*words, "--steps", 40, "-o", whole)
    for n in (13, 25, 40):
        said, _ = run(*words, "--steps", n, "-o", parts, "--restart")
    assert "continued from step 25" in said
    assert steps(parts) == [0, 5, 10, 13, 15, 20, 25, 30, 35, 40]
    one, other = read(whole)[-1], read(parts)[-1]
    assert other.positions == pytest.approx(one.positions, abs=1e-6)
    assert other.get_momenta() == pytest.approx(one.get_momenta(), abs=1e-5)
    assert np.abs(one.positions - read(whole)[0].positions).max() > 0.05
    energies = [a.get_potential_energy() + a.get_kinetic_energy() for a in read(parts)]
    assert np.ptp(energies) < 0.02 * one.get_kinetic_energy()
    before = parts.read_bytes()
    said, _ = run(*words, "--steps", 40, "-o", parts, "--restart")
    assert "has 40 steps already" in said
    assert parts.read_bytes() == before


def test_a_restarted_thermostat_goes_on(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "t.xyz"
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--flag", "none", "-o", out, "--restart")
    run(*words, "--steps", 10)
    run(*words, "--steps", 20)
    frames = read(out)
    assert steps(out) == [0, 5, 10, 15, 20]
    moved = [np.linalg.norm(b.positions - a.positions, axis=1).max() for a, b in pairwise(frames)]
    assert max(moved) < 3.0 * min(moved)
    # other random numbers than at the first start, the same for every restart from this step
    settings = argparse.Namespace(thermostat="langevin", temperature=300.0, friction=0.01, seed=3)
    first, again, later = (_dynamics(settings, frames[0], step, 1.0).rng.standard_normal(3) for step in (0, 0, 10))
    assert np.array_equal(first, again)
    assert not np.isclose(first, later).any()


def test_a_flag_is_saved_and_told(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "t.xyz"
    said, _ = run(folder / "m.gap", folder / "si.xyz", *HOT, "--steps", 6, "--flag", "1 meV/Å", "-o", out)
    assert re.search(r"^step 0: σ of the force on Si \d+ is \S+ eV/Å, above 0.001 eV/Å", said, re.MULTILINE)
    assert f"1 flag, {tmp_path / 't.flags.xyz'}" in said
    (frame,) = read(tmp_path / "t.flags.xyz")
    assert frame.calc is None
    assert "above 0.001 eV/A" in frame.info["reason"]
    assert frame.arrays["forces_std"].shape == (16, 3)
    said, _ = run(
        *(folder / "m.gap", folder / "si.xyz", *HOT, "--steps", 6, "--flag", "0.001", "--action", "record"),
        *("-o", tmp_path / "r.xyz"),
    )
    assert "1 flag\n" in said
    assert not (tmp_path / "r.flags.xyz").exists()


def test_stop(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "t.xyz"
    words = (folder / "m.gap", folder / "si.xyz", "--temperature", 4000, "--steps", 300, "--interval", 7, "-o", out)
    _, err = run(*words, "--flag", 0.2, "--action", "stop", status=3)
    last = err.splitlines()[-1]
    match = re.fullmatch(r"stopped by the flag at step (\d+): (\d+) frames written to .*t.xyz, 1 flag, .*", last)
    assert match
    assert steps(out)[-1] == int(match[1])
    assert len(steps(out)) == int(match[2])
    (frame,) = read(tmp_path / "t.flags.xyz")
    assert frame.positions == pytest.approx(read(out)[-1].positions, abs=1e-7)
    assert np.sqrt((frame.arrays["forces_std"] ** 2).mean(axis=1)).max() >= 0.2


def test_guards_alone(folder: Path, run: Run, tmp_path: Path) -> None:
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--steps", 5, "--max-temperature", 20)
    said, err = run(*words, "--flag", "none", "-o", tmp_path / "t.xyz")
    assert "σ is not watched" in said
    assert re.search(r"^step 0: kinetic temperature \d+\.?\d* K, above 20 K", said, re.MULTILINE)
    assert err == ""
    # without --flag: the same for a model that is not calibrated
    assert "σ is not watched" in run(*words, "-o", tmp_path / "u.xyz")[0]


def test_auto(folder: Path, run: Run, tmp_path: Path) -> None:
    calibration = load(folder / "c.gap").calibration_
    assert calibration is not None
    for name, words, miss in (
        ("a", ("--flag", "auto"), 0.05),
        ("b", ("--flag", "auto", "--miss-rate", 0.2), 0.2),
        ("c", (), 0.05),
    ):
        said, err = run(folder / "c.gap", folder / "si.xyz", *HOT, "--steps", 2, *words, "-o", tmp_path / f"{name}.xyz")
        assert f"exceeds {calibration.limit(miss):.3g} eV/Å" in said
        assert err == ""


def test_hydrogen_halves_the_step(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_two().save(tmp_path / "m.gap")
    ase.io.write(tmp_path / "c.xyz", Atoms("SiC", [[0, 0, 0], [0, 0, 2.0]]))
    words = (tmp_path / "m.gap", tmp_path / "c.xyz", "--temperature", 10, "--steps", 2, "--flag", "none")
    assert "2 steps of 1 fs;" in run(*words, "-o", tmp_path / "a.xyz")[0]
    assert "2 steps of 2 fs;" in run(*words, "-o", tmp_path / "b.xyz", "--timestep", 2)[0]
    ase.io.write(tmp_path / "h.xyz", Atoms("SiH", [[0, 0, 0], [0, 0, 2.0]]))
    monkeypatch.setattr("gapkit.cli.md._Run.go", lambda *_: 0)
    words = (tmp_path / "m.gap", tmp_path / "h.xyz", *words[2:])
    assert "2 steps of 0.5 fs, since there is hydrogen;" in run(*words, "-o", tmp_path / "d.xyz")[0]


def test_velocities_and_constraints_of_the_start(folder: Path, run: Run, tmp_path: Path) -> None:
    atoms = ase.io.read(folder / "si.xyz")
    atoms.set_momenta(np.full((16, 3), 0.5))
    atoms.set_constraint(FixAtoms([2]))
    ase.io.write(tmp_path / "s.traj", atoms)
    out = tmp_path / "t.xyz"
    words = (folder / "m.gap", tmp_path / "s.traj", *HOT, "--thermostat", "nve", "--flag", "none", "-o", out)
    run(*words, "--steps", 5)
    run(*words, "--steps", 10, "--restart")
    frames = read(out)
    assert frames[0].get_momenta() == pytest.approx(atoms.get_momenta(), abs=1e-7)
    assert frames[-1].positions[2] == pytest.approx(frames[0].positions[2], abs=1e-7)
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 0.01


def test_ctrl_c(folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calculate, count = GAPCalculator.calculate, 0

    def interrupted(self: GAPCalculator, *given: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count == 13:
            raise KeyboardInterrupt
        calculate(self, *given, **named)

    out = tmp_path / "t.xyz"
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--steps", 20, "--flag", 50, "-o", out)
    with monkeypatch.context() as patch:
        patch.setattr(GAPCalculator, "calculate", interrupted)
        _, err = run(*words, status=130)
    assert "interrupted (--restart continues) at step 11: 3 frames" in err
    assert steps(out) == [0, 5, 10]
    run(*words, "--restart")
    assert steps(out) == [0, 5, 10, 15, 20]


def test_a_full_disk_leaves_whole_frames(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "t.xyz", []
    append = _Run.write

    def full(self: _Run) -> None:
        if written and len(written) == 2:
            monkeypatch.setattr("gapkit.uncertainty.flag.Path.open", half)
        written.append(1)
        append(self)

    opened = Path.open

    class Half:
        """A file on a disk with room for ten more bytes."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> int:
            return int(self.file.write(content[:10]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    def half(self: Path, *given: Any, **named: Any) -> Any:
        return Half(opened(self, *given, **named))

    monkeypatch.setattr(_Run, "write", full)
    _, err = run(folder / "m.gap", folder / "si.xyz", *HOT, "--steps", 20, "--flag", "none", "-o", out, status=2)
    assert "the frame of step 10 cannot be written: No space left on device" in err
    monkeypatch.undo()
    assert steps(out) == [0, 5]


@pytest.mark.parametrize("lost", [1, 300, 1500])
def test_a_cut_trajectory_is_continued(folder: Path, run: Run, tmp_path: Path, lost: int) -> None:
    out, flags = tmp_path / "t.xyz", tmp_path / "t.flags.xyz"
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--thermostat", "nve", "--flag", 0.001, "-o", out)
    run(*words, "--steps", 20)
    whole = read(out)
    for path in (out, flags):
        path.write_bytes(path.read_bytes()[:-lost])
    _, err = run(*words, "--steps", 20, "--restart")
    assert err.count("ended within a frame") == 2
    assert "all complete frames are kept" in err
    assert steps(out) == [0, 5, 10, 15, 20]
    assert out.read_text().count("Lattice") == 5
    assert read(out)[-1].positions == pytest.approx(whole[-1].positions, abs=1e-6)
    assert all(step > 0 for step in steps(flags))


@pytest.mark.parametrize("damage", ["middle", "begin", "words"])
def test_a_trajectory_that_is_damaged_elsewhere_is_left_alone(
    folder: Path, run: Run, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "t.xyz"
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--flag", "none", "-o", out)
    run(*words, "--steps", 10)
    lines = out.read_bytes().splitlines(keepends=True)
    broken = {"middle": [*lines[:20], *lines[21:]], "begin": lines[:9], "words": [*lines, b"words"]}[damage]
    out.write_bytes(b"".join(broken))
    _, err = run(*words, "--steps", 20, "--restart", status=2)
    assert {"middle": "no frame begins here", "begin": "No frame is complete", "words": "line 55"}[damage] in err
    assert out.read_bytes() == b"".join(broken)


def test_nothing_is_cut_if_the_flags_are_damaged(folder: Path, run: Run, tmp_path: Path) -> None:
    out, flags = tmp_path / "t.xyz", tmp_path / "t.flags.xyz"
    words = (folder / "m.gap", folder / "si.xyz", *HOT, "--flag", "none", "-o", out)
    run(*words, "--steps", 10)
    cut = out.read_bytes()[:-300]
    out.write_bytes(cut)
    flags.write_text("words\n")
    _, err = run(*words, "--steps", 20, "--restart", status=2)
    assert "The file is damaged: no frame begins here" in err
    assert "t.flags.xyz, line 1). Fix: move it away" in err
    assert out.read_bytes() == cut


def test_mistakes(folder: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, start, out = folder / "m.gap", folder / "si.xyz", tmp_path / "t.xyz"
    ase.io.write(tmp_path / "ge.xyz", bulk("Ge"))
    ase.io.write(tmp_path / "other.xyz", bulk("Si", a=5.0))
    (tmp_path / "old.xyz").write_text("x")
    (tmp_path / "f.flags.xyz").write_text("x")

    def refused(*words: object) -> str:
        _, err = run(*words, "--temperature", 300, "--steps", 5, status=2)
        assert err.count("\n") == 1
        assert re.fullmatch(r"gapkit: error: .+ Fix: .+\.", err.strip())
        return err

    assert "exists already" in refused(model, start, "-o", tmp_path / "old.xyz")
    assert "f.flags.xyz" in refused(model, start, "-o", tmp_path / "f.xyz")
    assert "--restart" in refused(model, start, "-o", tmp_path / "old.xyz")
    assert "is also an input" in refused(model, tmp_path / "other.xyz", "-o", tmp_path / "other.xyz")
    assert "extended XYZ" in refused(model, start, "-o", tmp_path / "t.traj")
    assert "directory of the output file" in refused(model, start, "-o", tmp_path / "no" / "t.xyz")
    assert "does not exist" in refused(folder / "none.gap", start, "-o", out)
    assert "does not exist" in refused(model, folder / "none.xyz", "-o", out)
    assert "limit='auto' needs a calibrated model" in refused(model, start, "-o", out, "--flag", "auto")
    assert "unknown unit 'GPa'" in refused(model, start, "-o", out, "--flag", "1 GPa")
    assert "limit without unit" in refused(model, start, "-o", out, "--flag", "high")
    assert "not a positive number" in refused(model, start, "-o", out, "--flag", "-0.1")
    assert "knows Si" in refused(model, tmp_path / "ge.xyz", "-o", out)
    assert not out.exists()
    run(model, start, "-o", out, "--temperature", 300, "--steps", 2, "--flag", "none")
    assert "trajectory is of other atoms" in refused(model, tmp_path / "other.xyz", "-o", out, "--restart")
    ase.io.write(out, ase.io.read(start))
    assert "no step or no momenta" in refused(model, start, "-o", out, "--restart")
    for words, message in ((("--steps", "0"), "at least 1"), (("--temperature", "-1"), "not a positive")):
        with pytest.raises(SystemExit) as caught:
            main(["md", str(model), str(start), "-o", str(out), *words])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_help_says_what_the_unit_of_a_flag_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["md", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "--flag LIMIT largest sigma, eV/Å" in out
    assert "'auto' for a calibrated model, else 'none'" in out
