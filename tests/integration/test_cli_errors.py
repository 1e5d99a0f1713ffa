"""Mistakes at the command line: one line, status 2, and nothing half-written."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP
from gapkit.cli.main import main
from tests.samples import crystal, frames, two_species

SMALL = ["--n-sparse", "4", "--r-cut", "3.6", "--n-max", "2", "--l-max", "1", "--jobs", "1"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.xyz and the model m.gap."""
    folder = tmp_path_factory.mktemp("errors")
    ase.io.write(folder / "train.xyz", frames(4))
    assert main(["fit", str(folder / "train.xyz"), "-o", str(folder / "m.gap"), *SMALL]) == 0
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `gapkit` with these words, checks status 2 and one line, and returns that line."""

    def run(*argv: object) -> str:
        assert main([str(word) for word in argv]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("gapkit: warning")]
        assert len(lines) == 1, lines
        assert re.fullmatch(r"gapkit: error: .+ Fix: .+\.", lines[0])
        return lines[0]

    return run


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("this should not have been called")


def test_output_is_refused_before_any_work(
    shared: Path, refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gapkit.cli.reading.read_frames", never)
    monkeypatch.setattr("gapkit.cli.evaluate.load", never)
    train, model, lost = shared / "train.xyz", shared / "m.gap", tmp_path / "no" / "x"
    assert "directory of the output file does not exist" in refused("fit", train, "-o", lost)
    assert "is a directory" in refused("fit", train, "-o", tmp_path)
    assert "is also an input" in refused("fit", train, "-o", shared / "." / "train.xyz")
    for option in ("--json", "--plot"):
        assert f"({lost}.png)" in refused("evaluate", model, train, option, f"{lost}.png")
        assert "is also an input" in refused("evaluate", model, train, option, model)
    assert "did you mean 'png'" in refused("evaluate", model, train, "--plot", tmp_path / "p.pnq")

    def read_only(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", read_only)
    assert "nothing can be written here: Permission denied" in refused("fit", train, "-o", tmp_path / "m.gap")
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked_before_anything_is_read(
    shared: Path, refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("reading.read_frames", "md.read_frames", "md.load", "calibrate.load", "evaluate.load"):
        monkeypatch.setattr(f"gapkit.cli.{name}", never)
    train, model, plot = shared / "train.xyz", shared / "m.gap", tmp_path / "q.png"
    tune = ["tune", train, "-o", tmp_path / "b.toml"]
    assert "budget='10parsec' is no time" in refused(*tune, "--budget", "10parsec")
    assert "'foo', which is no setting of SoapTerm" in refused(*tune, "--space", "foo=1")
    assert "no setting of PairTerm" in refused(*tune, "--space", "pair__zeta=1")
    assert "no term is 'fair'" in refused(*tune, "--space", "fair__r_cut=4")
    md = ["md", model, train, "-o", tmp_path / "t.xyz", "--temperature", 300, "--steps", 1]
    assert "limit='foo': a limit without unit" in refused(*md, "--flag", "foo")
    for command in ("evaluate", "calibrate"):
        assert "two output files have this name" in refused(command, model, train, "--json", plot, "--plot", plot)
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_read(shared: Path, refused: Any, tmp_path: Path) -> None:
    out, empty = tmp_path / "m.gap", tmp_path / "empty.xyz"
    empty.touch()
    missing = tmp_path / "missing.xyz"
    assert f"does not exist ({missing})" in refused("fit", shared / "train.xyz", missing, "-o", out)
    assert f"file is empty ({empty})" in refused("fit", empty, "-o", out)
    assert "file is empty" in refused("evaluate", shared / "m.gap", empty)
    assert "does not exist" in refused("evaluate", shared / "m.gap", missing)
    assert "does not exist" in refused("info", tmp_path / "none.gap")
    content = (shared / "m.gap").read_bytes()
    damaged = tmp_path / "damaged.gap"
    damaged.write_bytes(content[: len(content) // 2])
    for words in (["info", damaged], ["evaluate", damaged, shared / "train.xyz"]):
        assert "damaged or truncated" in refused(*words)
    assert "damaged.gap" in refused("info", damaged)
    assert not out.exists()


def test_structures_that_cannot_be_used(shared: Path, refused: Any, tmp_path: Path) -> None:
    bare, foreign, out = tmp_path / "bare.xyz", tmp_path / "foreign.xyz", tmp_path / "m.gap"
    ase.io.write(bare, [crystal(1, kinds=[])])
    assert f"No frame has an energy, forces or a stress ({bare})" in refused("fit", bare, "-o", out)
    assert f"({bare})" in refused("evaluate", shared / "m.gap", bare)
    ase.io.write(foreign, [crystal(1), *two_species(1)[2:]])
    line = refused("evaluate", shared / "m.gap", foreign, "--json", tmp_path / "e.json")
    assert "The model knows Si; here is C" in line
    assert f"{foreign}, frame 1" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.xyz", "foreign.xyz"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[noise]\nenergi = 1.0", "did you mean 'energy'"),
        ("[noise.groups.cristal]\nenergy = 1.0", "did you mean 'crystal'"),
        ("[keys]\nenergy = 'enrgy'", "No frame has 'enrgy'"),
        ("[[terms]]\ntype = 'pair'\nr_cut = 0.9", "shorter than any bond"),
        ("[[terms]]\ntype = 'soap'\nzeta = 40\n[terms.soap]\nr_cut = 3\nn_max = 2\nl_max = 1\nsigma = 0.5", "zeta=40"),
        ("[[terms]]\ntype = 'soap'\n[terms.soap]\nr_cut = 3\nn_max = 0\nl_max = 1", "dscribe refuses"),
        ("[noise]\nenergy = 'none'\nforces = 'none'\nstress = 'none'", "No label is left to fit"),
    ],
)
def test_config_that_does_not_fit_the_data(shared: Path, refused: Any, tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(text)
    line = refused("fit", shared / "train.xyz", "-o", tmp_path / "m.gap", "--config", config)
    assert message in line
    assert ("c.toml" in line) != ("[keys]" in text)  # labels are a matter of the data
    assert not (tmp_path / "m.gap").exists()


def test_options_that_contradict_the_config(shared: Path, refused: Any, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    words = ["fit", shared / "train.xyz", "-o", tmp_path / "m.gap", "--config", config]
    config.write_text("[[terms]]\ntype = 'pair'\n")
    assert "--n-max and --l-max would set the SOAP term, but the file has none" in refused(*words, *SMALL[4:])
    config.write_text("[[terms]]\ntype = 'soap'\n" * 2)
    assert "--r-cut would set the SOAP term, but the file has 2 (" in refused(*words, "--r-cut", "4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND"),
        (["fit", "a.xyz"], "-o"),
        (["fitt", "a.xyz"], "invalid choice: 'fitt'"),
        (["fit", "a.xyz", "-o", "m.gap", "--n-max", "0"], "'0' is not a whole number of at least 1"),
        (["fit", "a.xyz", "-o", "m.gap", "--n-max", "2.5"], "'2.5' is not a whole number"),
        (["fit", "a.xyz", "-o", "m.gap", "--jobs", "0"], "'0' is not"),
        (["fit", "a.xyz", "-o", "m.gap", "--max-memory", "2 apples"], "'2 apples' is no amount of memory"),
        (["fit", "a.xyz", "-o", "m.gap", "--r-cut", "inf"], "'inf' is not a positive number"),
        (["fit", "a.xyz", "-o", "m.gap", "--r-cut", "none"], "'none' is not a positive number"),
        (["fit", "a.xyz", "-o", "m.gap", "--sigma-energy", "-1"], "--sigma-energy"),
        (
            ["fit", "a.xyz", "-o", "m.gap", "--sigma", "1"],
            "there is no option --sigma. Fix: did you mean --sigma-stress? see",
        ),
    ],
)
def test_wrong_options(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gapkit: error: ")
    assert message in line


def test_verbose_shows_the_traceback(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(shared / "none.gap"), "-v"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("gapkit: error: ")


def test_an_unexpected_error_keeps_its_traceback(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(GAP, "fit", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["fit", str(shared / "train.xyz"), "-o", str(tmp_path / "m.gap")])


@pytest.mark.parametrize("moment", ["in the fit", "while the file is written"])
def test_control_c_leaves_the_old_file(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    target = "gapkit.model.training.compress_each" if moment == "in the fit" else "os.fsync"
    monkeypatch.setattr(target, interrupt)
    path = tmp_path / "m.gap"
    path.write_text("old")
    assert main(["fit", str(shared / "train.xyz"), "-o", str(path), *SMALL]) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("gapkit: interrupted")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_whole_or_not_there(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    path = tmp_path / "e.json"
    assert main(["evaluate", str(shared / "m.gap"), str(shared / "train.xyz"), "--json", str(path)]) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_said_once(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stress that is not symmetric is met while reading, and the frames are used twice more after that."""
    structures: list[Atoms] = frames(2)
    structures[1].info["virial"] = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    ase.io.write(tmp_path / "train.xyz", structures)
    assert main(["fit", str(tmp_path / "train.xyz"), "-o", str(tmp_path / "m.gap"), *SMALL]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum("not symmetric" in line for line in lines) == 1
    assert len(lines) == len(set(lines))
    assert all(line.startswith("gapkit: warning: ") for line in lines)
