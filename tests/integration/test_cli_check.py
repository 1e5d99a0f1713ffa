"""`gapkit check`: what it prints, its status, its JSON, on real and on broken files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest

from gapkit.cli.main import main
from gapkit.datasets import check_files
from tests.conftest import DATA
from tests.samples import frames


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "train.xyz"
    ase.io.write(path, frames(4))
    return path


def test_real_silicon_has_findings_and_no_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The whole published split: three copies in the test set, and frames that say that their stress is uncertain."""
    folder, target = DATA / "silicon", tmp_path / "found.json"
    words = ["check", str(folder / "train.xyz"), "--test", str(folder / "test.xyz"), "--json", str(target)]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^atoms +14758 in 239 frames: Si 14758", out, re.MULTILINE)
    assert re.search(
        rf"^warning shared-with-test: {re.escape(str(folder / 'test.xyz'))}, frames 22-24$", out, re.MULTILINE
    )
    assert re.search(r"^ +Fix: leave them out of the test", out, re.MULTILINE)
    assert "stress_quality = shear_order_unknown" in out
    assert out.splitlines()[-1].startswith("0 errors, 1 warning, ")
    document = json.loads(target.read_text(encoding="utf-8"))
    assert [finding["rule"] for finding in document["findings"]] == [
        "shared-with-test",
        "isolated-atom",
        "not-compared",
        "flagged-frames",
        "missing-stress",
        "copies",
        "near-copies",
        "copies",
    ]
    assert document["counts"] == {"error": 0, "warning": 1, "note": 7}
    assert document["findings"][0]["frames"] == {str(folder / "test.xyz"): [22, 23, 24]}
    assert document["summary"]["groups"]["Elastic"]["frames"] == 61


def test_real_molybdenum_has_notes_alone() -> None:
    """Stresses off by 20 kbar, as data/MANIFEST.toml says, are of groups of one volume: nothing there shows it."""
    folder = DATA / "molybdenum"
    report = check_files([folder / "train.xyz"], [folder / "test.xyz"])
    assert not report.errors + report.warnings
    assert [f.rule for f in report.notes] == ["isolated-atom", "not-compared", "near-copies"]
    assert "in Elastic, Surface:" in report.by_rule("not-compared")[0].what
    assert len(report.by_rule("near-copies")[0].frames) == 16


def test_errors_give_status_1_and_come_first(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structures = frames(4)
    structures[2].info["enrgy"] = structures[2].calc.results.pop("energy")
    structures[3].info["config_type"] = "other"
    structures[1].positions[0] = np.nan
    ase.io.write(sound, structures)
    assert main(["check", str(sound)]) == 1
    lines = capsys.readouterr().out.splitlines()
    kinds = [line.split()[0] for line in lines if re.match(r"(error|warning|note) ", line)]
    assert kinds == sorted(kinds, key=["error", "warning", "note"].index)
    assert kinds.count("error") == 2
    assert f"error   misspelt-key: {sound}, frame 2" in lines
    assert f"error   unusable-frame: {sound}, frame 1" in lines
    assert lines[0].startswith("files")


def test_keys_of_the_configuration_file(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structures = frames(4)
    for atoms in structures:
        atoms.info["scan"] = atoms.calc.results.pop("energy")
    ase.io.write(sound, structures)
    main(["check", str(sound)])
    assert "energy of" not in capsys.readouterr().out
    config = tmp_path / "c.toml"
    config.write_text('[keys]\nenergy = "scan"\n', encoding="utf-8")
    assert main(["check", str(sound), "--config", str(config)]) == 0
    assert "energy of 5 frames" in capsys.readouterr().out


def test_files_that_cannot_be_read(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.xyz"
    text.write_text("this is no structure\n", encoding="utf-8")
    assert main(["check", str(text), str(tmp_path / "none.xyz"), str(sound)]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("unreadable-file") == 2
    assert f"{sound} (5 frames)" in out
    assert main(["check", str(tmp_path / "none.xyz")]) == 1


def test_wrong_options_give_status_2(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sound), "--json", str(sound)]) == 2
    assert "is also an input" in capsys.readouterr().err
    assert main(["check", str(sound), "--config", "none.toml"]) == 2


def test_the_same_twice(sound: Path) -> None:
    assert str(check_files([sound])) == str(check_files([sound]))
