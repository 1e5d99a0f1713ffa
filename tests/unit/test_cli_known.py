"""What the plan of a fit says of baselines and e0 is what the model then has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from gapkit import load
from gapkit.cli.fit import _learned_nothing
from gapkit.cli.main import main
from gapkit.model.evaluation import Comparison
from tests.samples import cluster, crystal, frames, two_species

SMALL = ["--n-sparse", "4", "--r-cut", "3.6", "--n-max", "2", "--l-max", "1", "--jobs", "1"]
Fit = Callable[..., tuple[str, str, list[str]]]


@pytest.fixture
def fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fit:
    """Fits structures with a configuration; the plan, what was warned of, and the kinds of baseline of the model."""

    def run(structures: list[Atoms], config: str = "", options: list[str] = SMALL) -> tuple[str, str, list[str]]:
        train, toml, model = (str(tmp_path / name) for name in ("train.xyz", "c.toml", "m.gap"))
        ase.io.write(train, structures)
        Path(toml).write_text(config)
        assert main(["fit", train, "-o", model, "--config", toml, *options]) == 0
        out, err = capsys.readouterr()
        return out, err, [baseline.kind for baseline in load(model).state_.baselines]

    return run


def bound() -> list[Atoms]:
    """Without the isolated atom."""
    return frames(4)[1:]


@pytest.mark.parametrize(
    ("structures", "config", "value", "why"),
    [
        (frames(4), "", "zbl + cohesion", "cohesion of Si, whose e0 is that of an isolated atom"),
        (bound(), "[e0]\nSi = -2.5", "zbl + cohesion", "cohesion of Si, whose e0 is that of an isolated atom"),
        (bound(), "", "zbl", "no cohesion: no e0 is that of an isolated atom"),
        (frames(4, kinds=["forces"])[1:], "[e0]\nSi = -2.5", "zbl", "no cohesion: no energy tells that of an element"),
    ],
)
def test_default_baselines(fit: Fit, structures: list[Atoms], config: str, value: str, why: str) -> None:
    out, _, kinds = fit(structures, config)
    assert re.search(rf"^baselines\s+{re.escape(value)}  +repulsion .*; {why}$", out, re.MULTILINE)
    assert kinds == value.split(" + ")


COHESION = '[[baselines]]\ntype = "cohesion"\n'


def test_a_cohesion_that_does_nothing(fit: Fit) -> None:
    out, err, kinds = fit(bound(), COHESION)
    assert kinds == []
    assert re.search(r"^baseline\s+cohesion: of no element", out, re.MULTILINE)
    assert "cohesion does nothing, since no e0 is that of an isolated atom. Fix: give [e0]" in err
    assert 'add [[baselines]] with type = "zbl"' in err
    _, err, kinds = fit(bound(), COHESION + '[[baselines]]\ntype = "zbl"\n')
    assert kinds == ["zbl"]
    assert "cohesion does nothing" in err
    assert "add [[baselines]]" not in err
    for structures, more in ((frames(4), ""), (bound(), "[e0]\nSi = -2.5"), (bound(), "energies = {Si = -4.5}")):
        out, err, kinds = fit(structures, COHESION + more)
        assert kinds == ["cohesion"]
        assert re.search(r"^baseline\s+cohesion: energies \(Si -\d\.\d+\)", out, re.MULTILINE)
        assert "cohesion does nothing" not in err


def test_tune_writes_no_dead_cohesion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, best = tmp_path / "train.xyz", tmp_path / "best.toml"
    words = ["tune", train, "-o", best, "--space", "zeta=2", "--n-sparse", "4", "--jobs", "1"]
    for structures, n in ((bound(), 0), (frames(4), 1)):
        ase.io.write(train, structures)
        assert main([str(word) for word in words]) == 0
        capsys.readouterr()
        assert best.read_text().count('type = "cohesion"') == n
        assert best.read_text().count('type = "zbl"') == 1


def test_e0_without_energies(fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _, _ = fit([build(k, kinds=["forces"]) for k in range(3) for build in (crystal, cluster)])
    assert re.search(r"^e0\s+Si 0 eV\s+0, since no energy tells it$", out, re.MULTILINE)
    main(["info", str(tmp_path / "m.gap")])
    assert "Si (e0 0 eV, since no energy tells it)" in capsys.readouterr().out


def test_e0_of_an_element_that_is_not_there(fit: Fit) -> None:
    _, err, _ = fit(frames(4), "[e0]\nGe = -1.0\nSi = -2.5")
    assert err.count("e0 of Ge: not in the data, kept for gapkit extend") == 1
    _, err, _ = fit(two_species(4), "[e0]\nC = -1.0\nSi = -2.5")
    assert "not in the data" not in err


def test_errors_as_large_as_the_labels(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three quarters of the spread of the labels are what few sparse points give, not wrong units."""
    true_n = np.array([-10.0, 10.0])
    found = [_learned_nothing(Comparison(true_n, true_n + 10.0 * share)) for share in (0.75, 0.89, 0.95, 2.0)]
    assert found == [False, False, True, True]
    monkeypatch.setattr("gapkit.cli.fit._learned_nothing", lambda found: True)
    _, err, _ = fit(frames(4))
    assert (
        "as large as the labels vary; units or signs, or too few sparse points, or a cutoff that is too short?" in err
    )
    assert "if it finds nothing, raise --n-sparse or --r-cut" in err
