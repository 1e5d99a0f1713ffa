"""`gapkit tune`: the table, the settings that it writes, and that `gapkit fit` reads them as they were meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import pytest

from gapkit import GAP, ACSFTerm, Cohesion, ConfigError, Coulomb, Keys, Noise, PairTerm, SoapTerm, load
from gapkit.atoms.labels import to_frames
from gapkit.cli.config import read_config
from gapkit.cli.main import main
from gapkit.cli.plan import make_plan
from gapkit.cli.settings import settings_text
from gapkit.cli.tune import parsed_budget, parsed_space
from tests.samples import R_CUT, frames, soap_arguments

Run = Callable[..., tuple[str, str]]

START = f"""
seed = 3
[[terms]]
type = "pair"
r_cut = 3.5
n_sparse = 6
[[terms]]
type = "soap"
zeta = 2
n_sparse = 8
[terms.soap]
r_cut = {R_CUT}
n_max = 3
l_max = 2
sigma = 0.5
weighting = {{function = "poly", r0 = {R_CUT}, c = 1.0, m = 1.0}}
[noise]
stress = "none"
[noise.groups."cluster"]
energy = 0.01
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `gapkit` with these words in a folder with train.xyz and start.toml; what it said to stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", frames(8))
    Path("start.toml").write_text(START, encoding="utf-8")

    def words(*argv: object, status: int = 0) -> tuple[str, str]:
        found = main([str(word) for word in argv])
        out, err = capsys.readouterr()
        assert found == status, err
        return out, err

    return words


SMALL = ("tune", "train.xyz", "-o", "best.toml", "--config", "start.toml", "--jobs", 1)


def test_the_settings_that_it_writes_make_the_model_that_it_found(run: Run) -> None:
    space = ("--space", "zeta=1,4", "--space", "r_cut=3.2", "--space", "n-sparse=5")
    more = ("--resume", "t.jsonl", "--model-out", "best.gap", "--json", "t.json", "--plot", "t.png", "--keep-data")
    out, err = run(*SMALL, *space, *more)
    assert err.count("warning") <= 1
    table = out[out.index("mean absolute errors") : out.index("Evidence")].splitlines()
    assert table[0] == "mean absolute errors, frames left out one by one"
    assert table[2].split()[:3] == ["zeta", "r_cut", "n_sparse"]
    assert len([line for line in table[4:] if line]) == 12
    assert "best" in table[4]
    report = json.loads(Path("t.json").read_text(encoding="utf-8"))
    assert report["agreement"] in out
    assert len(report["trials"]) == 12
    best = ", ".join(f"{name} {value:g}" for name, value in report["best"]["settings"].items())
    assert f"best: {best}; 12 trials in " in out
    edges = ", ".join(f"{name} {value:g}" for name, value in report["at_edge"].items())
    assert edges
    assert f"at the edge of what was tried: {edges}; --space" in out
    run("fit", "train.xyz", "-o", "fit.gap", "--config", "best.toml", "--jobs", 1, "--keep-data")
    assert Path("fit.gap").read_bytes() == Path("best.gap").read_bytes()
    soap = load("fit.gap").terms[1]
    settings = report["best"]["settings"]
    assert (soap.zeta, soap.soap["r_cut"], soap.n_sparse) == tuple(settings.values())
    assert soap.soap["weighting"]["r0"] == settings["r_cut"]
    assert Path("t.png").stat().st_size > 20_000
    again, _ = run(*SMALL, *space, "--resume", "t.jsonl")
    assert re.sub(r"\d+\.\d s", "", again).splitlines()[:20] == re.sub(r"\d+\.\d s", "", out).splitlines()[:20]


def test_budget_and_defaults(run: Run) -> None:
    out, _ = run(*SMALL, "--budget", 2, "--score", "forces", "--json", "t.json")
    assert "; 2 trials in " in out
    report = json.loads(Path("t.json").read_text(encoding="utf-8"))
    assert report["by"] == "forces"
    assert report["best"]["forces"]["mae_eV_per_A"] == min(t["forces"]["mae_eV_per_A"] for t in report["trials"])
    assert "seed = 3" in Path("best.toml").read_text(encoding="utf-8")


def test_the_same_command_goes_on_after_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done is reported, written and kept; nothing of it is done again."""
    words = (*SMALL, "--space", "n_max=2,4", "--space", "zeta=1", "--resume", "t.jsonl", "--json", "t.json")
    usual, fits = GAP.fit_each, list[GAP]()

    def fit_each(self: GAP, *given: Any, **more: Any) -> list[GAP]:
        if len(fits) == 2:
            raise KeyboardInterrupt
        fits.append(self)
        return usual(self, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(GAP, "fit_each", fit_each)
        out, err = run(*words)
    assert "tuning was interrupted; the trials so far are kept" in err
    assert "; 4 trials in " in out
    part = json.loads(Path("t.json").read_text(encoding="utf-8"))["trials"]
    assert [trial["settings"]["n_max"] for trial in part] == [3, 3, 2, 2]
    assert "zeta" in Path("best.toml").read_text(encoding="utf-8")
    out, err = run(*words)
    assert "interrupted" not in err
    assert "; 6 trials in " in out
    trials = json.loads(Path("t.json").read_text(encoding="utf-8"))["trials"]
    assert trials[:4] == part  # the times as well: these were not made again
    assert [trial["settings"]["n_max"] for trial in trials[4:]] == [4, 4]


def test_what_is_wrong_is_said_in_one_line(run: Run) -> None:
    for words, message in {
        ("--space", "zeta"): "--space 'zeta' is no name with values",
        ("--space", "zeta=1,,2"): "is no name with values",
        ("--space", "zeat=1"): "did you mean 'zeta'",
        ("--budget", "soon"): "budget='soon' is no time",
        ("--plot", "t.doc"): "cannot be written as 't.doc'",
        ("--resume", "train.xyz"): "also an input",
        ("--model-out", "best.toml"): "two output files have this name",
    }.items():
        _, err = run(*SMALL, *words, status=2)
        assert message in err, words
        assert len(err.strip().splitlines()) == 1


def test_words_become_values() -> None:
    assert parsed_space(None) is None
    given = ["zeta=2,4", "r_cut=5,5.5", "compression=off,mu2", "embedding=none,2", "alchemical=true", "zeta=6"]
    assert parsed_space(given) == {
        "zeta": [2, 4, 6],
        "r_cut": [5, 5.5],
        "compression": ["off", "mu2"],
        "embedding": [None, 2],
        "alchemical": [True],
    }
    assert [parsed_budget(b) for b in (None, "12", "10min")] == [None, 12, "10min"]


MODELS: dict[str, dict[str, Any]] = {
    "everything": {
        "terms": [
            PairTerm(r_cut=4.5, delta=0.5),
            ACSFTerm({"r_cut": 4.0, "g2_params": [[1.0, 2.0]]}, n_sparse={"Si": 3}),
            SoapTerm(
                soap_arguments(compression={"mode": "mu2"}), n_sparse=9, quotas={"a b": 0.5}, method="leverage", zeta=3
            ),
        ],
        "baselines": [Coulomb({"Si": 1.0, "C": -1.0}, scale="fit", excess="background"), Cohesion({"Si": -3.5})],
        "noise": Noise(0.002, None, 0.01, groups={'a "b" c': {"energy": 0.1, "forces": None}}),
        "keys": Keys(energy="dft energy", sigma_per_atom=True),
        "e0": {"Si": -2.5},
        "max_memory": "1GB",
    },
    "little": {"terms": [SoapTerm(soap_arguments())], "baselines": []},
    "vectors": {"terms": [SoapTerm(soap_arguments(), embedding={"Si": [1.0, 0.5], "C": [0.0, 1.0]}, alchemical=True)]},
}


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_settings_are_read_as_they_were_written(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(settings_text(GAP(**settings), 5, "two\nlines"), encoding="utf-8")
    config = read_config(str(path))
    data = to_frames(frames(2))
    for frame in data[:2]:
        object.__setattr__(frame, "group", 'a "b" c')
    made = make_plan(data, config, {"jobs": 1})
    assert made.seed == 5
    assert repr(made.model.terms) == repr(settings["terms"])
    assert repr(made.model.noise) == repr(settings.get("noise"))
    assert config.keys == settings.get("keys", Keys())
    assert config.e0 == settings.get("e0", {})
    assert config.max_memory == settings.get("max_memory")
    expected = settings.get("baselines")
    assert repr(made.model.baselines) == repr(expected) if expected is not None else config.baselines is None


def test_what_has_no_place_in_a_file_is_said() -> None:
    with pytest.raises(ConfigError, match="delta=None of 'soap' has no place"):
        settings_text(GAP([SoapTerm(soap_arguments(), delta=None)]), 0)
