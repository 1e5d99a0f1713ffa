"""Rules about names, missing labels and frames that cannot be used: each on a set with just that fault."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import ConfigError, DataError, Frame, GapkitWarning, Keys, to_frames
from gapkit.datasets import Finding, Place, Report, check_files, check_frames
from gapkit.datasets.finding import listed
from tests.samples import crystal, frames


def set_of(n: int = 6) -> list[Atoms]:
    """Small labelled structures whose labels are in info and arrays."""
    structures = frames(n)
    for atoms in structures:
        results = atoms.calc.results
        atoms.info |= {f"REF_{k}": results[k] for k in ("energy", "stress") if k in results}
        if "forces" in results:
            atoms.arrays["REF_forces"] = results["forces"]
        atoms.calc = None
    return structures


def rules(report: Report, severity: str = "error") -> set[str]:
    return {finding.rule for finding in report.findings if finding.severity == severity}


def only(report: Report, rule: str, severity: str) -> Finding:
    """The one finding of a rule; nothing else is as severe."""
    (found,) = report.by_rule(rule)
    assert found.severity == severity
    assert rules(report) == ({rule} if severity == "error" else set())
    return found


def move(atoms: Atoms, old: str, new: str) -> None:
    shelf = atoms.info if old in atoms.info else atoms.arrays
    shelf[new] = shelf.pop(old)


def test_a_sound_set_has_no_errors_and_no_warnings() -> None:
    report = check_frames(set_of())
    assert (report.errors, report.warnings) == ((), ())
    assert report.summary.labels == {"energy": 7, "forces": 6, "stress": 3}
    assert report.summary.elements == {"Si": sum(map(len, set_of()))}
    assert list(report.summary.groups) == ["cluster", "crystal", "isolated_atom"]


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [("REF_energy", "enrgy", "energy"), ("REF_forces", "forcess", "forces"), ("REF_stress", "dft_streses", "stress")],
)
def test_misspelt_key(old: str, new: str, meant: str) -> None:
    structures = set_of()
    for k in (1, 3):
        move(structures[k], old, new)
    found = only(check_frames(structures), "misspelt-key", "error")
    assert found.frames == (1, 3)
    assert found.where == "train, frames 1, 3"
    assert f"'{new}'" in found.what
    assert f"rename it to '{meant}'" in found.fix


def test_misspelt_group_is_a_warning() -> None:
    structures = set_of()
    for atoms in structures:
        move(atoms, "config_type", "config_typ")
    found = only(check_frames(structures), "misspelt-key", "warning")
    assert found.frames == tuple(range(7))
    assert 'set group = "config_typ"' in found.fix


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("REF_energy", "MACE_energy", "energy"),
        ("REF_energy", "E_pbe", "energy"),
        ("REF_forces", "gradients", "forces"),
        ("REF_stress", "pbe_S", "stress"),
    ],
)
def test_label_under_a_name_that_nobody_looks_up(old: str, new: str, kind: str) -> None:
    structures = set_of()
    (index,) = [k for k, atoms in enumerate(structures) if old in {**atoms.info, **atoms.arrays} and atoms.pbc.all()][
        :1
    ]
    move(structures[index], old, new)
    found = only(check_frames(structures), "unknown-label", "warning")
    assert found.frames == (index,)
    assert f'{kind} = "{new}"' in found.fix
    assert ("turn its sign" in found.fix) == (new == "gradients")
    named = check_frames([structures[index]], keys=Keys(**{kind: new}))
    assert not named.by_rule("unknown-label")
    assert kind in [k for k, count in named.summary.labels.items() if count]


def test_a_free_energy_alone_is_named() -> None:
    """ASE reads it as a result of its own."""
    structures = set_of()
    del structures[1].info["REF_energy"]
    structures[1].calc = SinglePointCalculator(structures[1], free_energy=-4.0)
    found = only(check_frames(structures), "unknown-label", "warning")
    assert found.frames == (1,)
    assert 'energy = "free_energy"' in found.fix


def test_forces_are_known_by_their_shape() -> None:
    structures = set_of()
    move(structures[1], "REF_forces", "quantity_7")
    assert only(check_frames(structures), "unknown-label", "warning").frames == (1,)
    structures[1].arrays["momenta"] = structures[1].arrays.pop("quantity_7")
    assert not check_frames(structures).by_rule("unknown-label")


def test_missing_labels() -> None:
    structures = set_of()
    del structures[2].info["REF_energy"]
    assert only(check_frames(structures), "missing-energy", "warning").frames == (2,)
    structures = set_of()
    del structures[3].arrays["REF_forces"]
    assert only(check_frames(structures), "missing-forces", "warning").frames == (3,)
    structures = set_of()
    del structures[1].info["REF_stress"]
    assert only(check_frames(structures), "missing-stress", "note").frames == (1,)
    structures = set_of()
    for atoms in structures:
        atoms.arrays.pop("REF_forces", None)
    found = only(check_frames(structures), "missing-forces", "note")
    assert found.frames == (1, 2, 3, 4, 5, 6)
    assert "No frame has forces" in found.what
    bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in set_of()]
    assert only(check_frames(bare), "missing-labels", "error").frames == tuple(range(7))


def test_two_labels_that_differ() -> None:
    structures = set_of()
    structures[4].info["energy"] = structures[4].info["REF_energy"] + 1.0
    structures[5].info["energy"] = structures[5].info["REF_energy"]
    found = only(check_frames(structures), "two-labels", "warning")
    assert found.frames == (4,)
    assert "'REF_energy' and 'energy' differ" in found.what


def test_a_key_that_no_frame_has() -> None:
    report = check_frames(set_of(), keys=Keys(energy="scan_energy"))
    found = only(report, "key-not-found", "error")
    assert "'scan_energy'" in found.what
    assert "did you mean 'REF_energy'" in found.fix


def test_a_key_that_some_frames_have_is_no_refusal() -> None:
    structures = set_of()
    move(structures[2], "REF_energy", "scan_energy")
    report = check_frames(structures, keys=Keys(energy="scan_energy"))
    assert not report.errors
    assert report.summary.labels["energy"] == 1


def test_masks_groups_and_flags() -> None:
    structures = set_of()
    structures[2].arrays["force_mask"] = np.ones(len(structures[2]), dtype=bool)
    structures[3].arrays["force_mask"] = np.arange(len(structures[3])) == 0
    found = only(check_frames(structures), "force-mask", "warning")
    assert found.frames == (2,)
    assert "*left out*" in found.what
    structures = set_of()
    del structures[5].info["config_type"]
    assert only(check_frames(structures), "config-type", "warning").frames == (5,)
    structures = set_of()
    structures[6].info["scf_converged"] = False
    structures[5].info["scf_converged"] = True
    found = only(check_frames(structures), "flagged-frames", "warning")
    assert found.frames == (6,)
    assert "scf_converged = False" in found.what
    structures = set_of()
    structures[2].info["stress_quality"] = "unknown"
    assert only(check_frames(structures), "flagged-frames", "note").frames == (2,)


def test_frames_that_the_reader_refuses_and_the_others() -> None:
    structures = set_of()
    structures[1].positions[1, 0] = np.nan
    structures[4].arrays["REF_forces"] = structures[4].arrays["REF_forces"][:, :2]
    del structures[6].arrays["REF_forces"]
    report = check_frames(structures)
    assert {finding.frames for finding in report.by_rule("unusable-frame")} == {(1,), (4,)}
    assert rules(report) == {"unusable-frame"}
    (nan,) = [finding for finding in report.errors if finding.frames == (1,)]
    assert "atom 1 (Si)" in nan.what
    assert "remove the frame" in nan.fix
    assert report.by_rule("missing-forces")[0].frames == (6,)


def test_broken_files(tmp_path: Path) -> None:
    good, cut, missing = tmp_path / "good.xyz", tmp_path / "cut.xyz", tmp_path / "missing.xyz"
    ase.io.write(good, frames(4))
    text = good.read_text(encoding="utf-8")
    lines = text.splitlines()
    cut.write_text(
        "\n".join([*lines, "3", 'Properties=species:S:1:pos:R:3 pbc="F F F"', "Si 0 0 zero"]), encoding="utf-8"
    )
    report = check_files([good, cut, missing])
    unreadable = report.by_rule("unreadable-file")
    assert rules(report) == {"unreadable-file"}
    assert len(unreadable) == 2
    assert any(str(cut) in finding.where for finding in unreadable)
    assert any("does not exist" in finding.what and str(missing) == finding.where for finding in unreadable)
    assert report.summary.files[str(good)] == 5


def test_the_summary_counts_one_thing_as_one() -> None:
    text = str(check_frames(set_of()[1:2]).summary)
    assert "train (1 frame)" in text
    assert "in 1 frame: Si" in text
    assert "; 1 composition\n" in text
    assert "energy of 1 frame, forces of 1 frame" in text
    assert "train (7 frames)" in str(check_frames(set_of()).summary)


def test_a_file_without_frames_has_no_table(tmp_path: Path) -> None:
    empty = tmp_path / "empty.xyz"
    empty.touch()
    report = check_files([empty])
    assert [(f.rule, f.where) for f in report.findings] == [("unreadable-file", str(empty))]
    assert str(report).startswith("no frame can be read\n\nerror   unreadable-file")


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(DataError, match="instead of a list"):
        check_frames(frames(1)[0])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no structures"):
        check_frames([])


def test_findings_are_complete_and_say_where() -> None:
    places = (*(Place("a.xyz", k, k, False) for k in (3, 4, 5, 9)), Place("b.xyz", 0, 10, True))
    finding = Finding("rule", "note", "what", "fix", places)
    assert finding.where == "a.xyz, frames 3-5, 9; b.xyz, frame 0"
    assert finding.frames == (3, 4, 5, 9, 10)
    assert str(finding) == "note: rule (a.xyz, frames 3-5, 9; b.xyz, frame 0): what. Fix: fix."
    assert finding.as_dict()["frames"] == {"a.xyz": [3, 4, 5, 9], "b.xyz": [0]}
    assert listed(list(range(0, 40, 2))) == "frames 0, 2, 4, 6, 8, 10 … (20 in all)"
    with pytest.raises(ConfigError, match="incomplete"):
        Finding("rule", "error", "what", "")


def test_what_the_reader_remarks_becomes_a_finding() -> None:
    structures = set_of()
    skew = np.diag([0.1, 0.1, 0.1])
    skew[0, 1] = 0.05
    structures[1].info["REF_stress"] = skew
    structures[2].info["force_component_sigma"] = 1.0
    moved = frames(2)[1]
    moved.positions[0] += 0.1
    report = check_frames([*structures, moved])
    found = {finding.rule: finding for finding in report.warnings}
    assert found["stress-asymmetric"].frames == (1,)
    assert found["unsupported"].frames == (2,)
    assert "force_atom_sigma" in found["unsupported"].fix
    assert found["outdated"].frames == (7,)


def test_a_remark_that_no_rule_knows_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def remarking(*arguments: Any, **options: Any) -> list[Frame]:
        warnings.warn("Something is odd (frame 0).", GapkitWarning, stacklevel=2)
        return to_frames(*arguments, **options)

    monkeypatch.setattr("gapkit.datasets.reading.to_frames", remarking)
    found = only(check_frames(set_of()), "reader", "warning")
    assert (found.frames, found.what) == (tuple(range(7)), "Something is odd")


def test_frames_of_gapkit_are_taken_as_they_are() -> None:
    structures = set_of()
    ready = to_frames(structures)
    assert str(check_frames(ready)) == str(check_frames(structures))


def test_config_types_that_number_frames_are_a_note() -> None:
    structures = [crystal(k) for k in range(41)]
    for n_groups, notes in ((41, 1), (40, 0), (5, 0)):
        for k, atoms in enumerate(structures):
            atoms.info["config_type"] = f"run-{k % n_groups}"
        report = check_frames(structures)
        found = report.by_rule("many-config-types")
        assert [f.severity for f in found] == ["note"] * notes
        shown = str(report.summary).splitlines()
        assert sum(line.startswith("run-") for line in shown) == (20 if notes else n_groups)
        assert (shown[-1] == "… 21 more config_types") == bool(notes)
