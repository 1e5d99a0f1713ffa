"""The command line on real silicon, small settings: what it prints, what it writes, and that Python says the same."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa

from gapkit import GAP, Frame, GapkitWarning, Noise, PairTerm, SoapTerm, load, read_frames
from gapkit.atoms.labels import to_frames
from gapkit.cli.config import Config
from gapkit.cli.main import main
from gapkit.cli.plan import make_plan
from gapkit.model.defaults import default_terms
from tests.conftest import Silicon

SMALL = ["--n-sparse", "25", "--r-cut", "4", "--n-max", "3", "--l-max", "2", "--jobs", "1"]
GROUPS = ["Elastic", "Surface"]


class Files:
    """A folder with train.xyz, test.xyz and the model si.gap that the command line fitted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train, self.test, self.model = (folder / name for name in ("train.xyz", "test.xyz", "si.gap"))


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `gapkit` with these words; what it said to stdout and stderr."""

    def words(*argv: object, status: int = 0) -> tuple[str, str]:
        found = main([str(word) for word in argv])
        out, err = capsys.readouterr()
        assert found == status, err
        return out, err

    return words


def pick(frames: tuple[Atoms, ...], n: int) -> list[Atoms]:
    """The n smallest frames of each group."""
    return [a for g in GROUPS for a in sorted((a for a in frames if a.info["config_type"] == g), key=len)[:n]]


@pytest.fixture(scope="module")
def files(silicon: Silicon, tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = Files(tmp_path_factory.mktemp("cli"))
    ase.io.write(files.train, pick(silicon.train, 3))
    ase.io.write(files.test, pick(silicon.test, 2))
    assert main(["fit", str(files.train), "-o", str(files.model), *SMALL]) == 0
    return files


def test_fit_says_what_it_chose_and_why(files: Files, run: Run, tmp_path: Path) -> None:
    out, err = run(
        "fit", files.train, "-o", tmp_path / "m.gap", *SMALL, "--sigma-forces", "0.2", "--sigma-stress", "none"
    )
    structures = read_frames(files.train)
    n_atoms = sum(map(len, structures))
    assert out.startswith(f"read 6 frames with {n_atoms} atoms of Si; energy of 6, forces of 6, stress of 3 frames\n")
    assert "config_type: Elastic 3, Surface 3\n" in out
    for line in [
        r"r_cut\s+4 Å\s+--r-cut",
        r"sigma\s+0\.\d+ Å\s+a fifth of the shortest bonds",
        r"n_max\s+3\s+--n-max",
        r"zeta\s+4\s+default",
        r"n_sparse\s+25\s+--n-sparse",
        r"sigma_energy\s+0.001 eV/atom\s+default",
        r"sigma_forces\s+0.2 eV/Å\s+--sigma-forces",
        r"sigma_stress\s+left out\s+--sigma-stress",
        r"e0\s+Si -?[\d.]+ eV\s+least squares",
        r"seed\s+0\s+default",
        r"fitted \d+ sparse points in [\d.]+ s",
        rf"wrote {re.escape(str(tmp_path / 'm.gap'))} \([\d.]+ kB\)",
        r"total\s+6\s+\d+(\s+[\d.]+){6}",
    ]:
        assert re.search(rf"^{line}", out, re.MULTILINE), line
    assert err.count("gapkit: warning: e0 of Si comes from least squares") == 1
    assert load(tmp_path / "m.gap").state_.noise.get_params() == Noise(0.001, 0.2, None).get_params()


def test_same_seed_same_bytes(files: Files, run: Run, tmp_path: Path) -> None:
    for name, more in {"a": [], "b": ["--jobs", "2"], "c": ["--seed", "7"]}.items():
        run("fit", files.train, "-o", tmp_path / name, *SMALL, *more)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b == files.model.read_bytes()
    assert a != c


def test_memory_is_limited_and_said(files: Files, run: Run, tmp_path: Path) -> None:
    out, _ = run("fit", files.train, "-o", tmp_path / "m.gap", *SMALL, "--max-memory", "500MB")
    assert re.search(r"^max_memory\s+500MB\s+--max-memory$", out, re.MULTILINE)
    assert (tmp_path / "m.gap").read_bytes() == files.model.read_bytes()


def test_no_options_are_the_defaults_of_python(files: Files, run: Run, tmp_path: Path) -> None:
    """Also with the training data in two files, and messages that name the frame within its file."""
    structures = read_frames(files.train)
    parts = [tmp_path / "first.xyz", tmp_path / "second.xyz"]
    ase.io.write(parts[0], structures[2:4])
    ase.io.write(parts[1], structures[4:5])
    out, _ = run("fit", *parts, "-o", tmp_path / "m.gap")
    assert re.search(r"^r_cut\s+\S+ Å\s+about 40 neighbours, within 4 to 6 Å$", out, re.MULTILINE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GapkitWarning)
        model = GAP().fit([*placed(parts[0]), *placed(parts[1])], rng=0)
    model.save(tmp_path / "python.gap")
    assert (tmp_path / "m.gap").read_bytes() == (tmp_path / "python.gap").read_bytes()
    bad = structures[4].copy()
    bad.positions[7, 1] = np.nan
    ase.io.write(parts[1], [structures[3], bad])
    _, err = run("fit", *parts, "-o", tmp_path / "n.gap", status=2)
    assert f"{parts[1]}, frame 1, atom 7 (Si)" in err


CONFIG = """
seed = 5
jobs = 1
[[terms]]
type = "pair"
r_cut = 4.5
n_sparse = 8
[[terms]]
type = "soap"
zeta = 2
n_sparse = 20
method = "uniform"
quotas = {Surface = 18}
[terms.soap]
r_cut = 3.5
n_max = 3
l_max = 2
sigma = 0.5
weighting = {function = "poly", r0 = 3.5, c = 1, m = 1}
[noise]
energy = 0.003
[noise.groups.Elastic]
forces = "none"
[e0]
Si = -0.25
"""


def placed(path: Path) -> list[Frame]:
    """Frames that know their file, as the command line reads them: a model remembers where its points are from."""
    return to_frames(read_frames(path), where=path.name)


def by_python(files: Files, path: Path, n_max: int, r_cut: float, seed: int) -> bytes:
    """What CONFIG says, in Python."""
    weighting = {"function": "poly", "r0": r_cut, "c": 1, "m": 1}
    soap = {"r_cut": r_cut, "n_max": n_max, "l_max": 2, "sigma": 0.5, "weighting": weighting}
    terms = [
        PairTerm(r_cut=4.5, n_sparse=8),
        SoapTerm(soap, zeta=2, n_sparse=20, method="uniform", quotas={"Surface": 18}),
    ]
    noise = Noise(energy=0.003, groups={"Elastic": {"forces": None}})
    GAP(terms, noise, e0={"Si": -0.25}).fit(placed(files.train), rng=seed).save(path)
    return path.read_bytes()


def test_config_is_the_fit_of_python_bit_for_bit(files: Files, run: Run, tmp_path: Path) -> None:
    config, model, python = tmp_path / "c.toml", tmp_path / "m.gap", tmp_path / "python.gap"
    config.write_text(CONFIG)
    out, _ = run("fit", files.train, "-o", model, "--config", config)
    assert model.read_bytes() == by_python(files, python, 3, 3.5, 5)
    assert re.search(rf"^term 2\s+soap: r_cut 3.5, n_max 3, .*zeta 2.*\s{re.escape(str(config))}$", out, re.MULTILINE)
    assert re.search(r"^sigma of Elastic\s+forces left out", out, re.MULTILINE)
    assert re.search(r"^e0\s+Si -0.25 eV\s+\S+c\.toml$", out, re.MULTILINE)
    # options win over the file, and the smooth cutoff moves along
    out, _ = run("fit", files.train, "-o", model, "--config", config, "--n-max", 2, "--r-cut", 4, "--seed", 6)
    assert model.read_bytes() == by_python(files, python, 2, 4.0, 6)
    assert "c.toml, --r-cut, --n-max" in out


def test_soap_without_arguments_is_chosen_from_the_data(files: Files, run: Run, tmp_path: Path) -> None:
    config, model = tmp_path / "c.toml", tmp_path / "m.gap"
    config.write_text('[[terms]]\ntype = "soap"\nzeta = 3\n')
    run("fit", files.train, "-o", model, "--config", config, *SMALL)
    frames = to_frames(read_frames(files.train))
    expected = default_terms(frames, r_cut=4.0, n_max=3, l_max=2, n_sparse=25)[1]
    (term,) = load(model).state_.settings
    assert {k: term.soap[k] for k in expected.soap} == expected.soap
    assert (term.zeta, term.n_sparse) == (3, 25)


def table_of(out: str) -> dict[str, list[str]]:
    """Rows of the printed table by their first column."""
    rows = [line.split() for line in out.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in (*GROUPS, "total")}


def test_evaluate(files: Files, run: Run, tmp_path: Path) -> None:
    """JSON is exactly what the README says, equals a computation by hand, and the table shows the same numbers."""
    target = tmp_path / "errors.json"
    out, err = run("evaluate", files.model, files.test, "--json", target)
    assert err == ""
    document = json.loads(target.read_text(encoding="utf-8"))
    assert [p.name for p in tmp_path.iterdir()] == ["errors.json"]
    structures, model = read_frames(files.test), load(files.model)
    assert list(document) == ["frames", "atoms", "energy", "forces", "stress", "by_group"]
    assert list(document["by_group"]) == GROUPS
    assert list(document["by_group"]["Elastic"]) == ["frames", "atoms", "energy", "forces", "stress"]
    assert list(document["by_group"]["Surface"]) == ["frames", "atoms", "energy", "forces"]
    parts = {"total": (document, structures)}
    for group in GROUPS:
        own = [atoms for atoms in structures if atoms.info["config_type"] == group]
        parts[group] = (document["by_group"][group], own)
    rows = table_of(out)
    for name, (found, own) in parts.items():
        predicted = [(atoms, model.predict(atoms)) for atoms in own]
        errors = {
            "energy": [1e3 * (p.energy - a.get_potential_energy()) / len(a) for a, p in predicted],
            "forces": np.concatenate([(p.forces - a.get_forces()).ravel() for a, p in predicted]),
            "stress": [
                v for a, p in predicted if "stress" in a.calc.results for v in (p.stress - a.get_stress()) / GPa
            ],
        }
        units = {"energy": "meV_per_atom", "forces": "eV_per_A", "stress": "GPa"}
        assert (found["frames"], found["atoms"]) == (len(own), sum(map(len, own)))
        printed = [str(found["frames"]), str(found["atoms"])]
        for kind, digits in {"energy": 3, "forces": 4, "stress": 3}.items():
            if not len(errors[kind]):
                printed += ["-", "-"]
                continue
            mae, rmse = np.abs(errors[kind]).mean(), np.sqrt(np.square(errors[kind]).mean())
            assert found[kind] == pytest.approx({f"mae_{units[kind]}": mae, f"rmse_{units[kind]}": rmse}, rel=1e-9)
            printed += [f"{value:.{digits}f}" for value in found[kind].values()]
        assert rows[name] == printed
    assert document["forces"]["rmse_eV_per_A"] > 0.01


def test_evaluate_draws(files: Files, run: Run, tmp_path: Path) -> None:
    run("evaluate", files.model, files.test, "--plot", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_kinds_without_labels_are_absent(files: Files, run: Run, tmp_path: Path) -> None:
    structures = read_frames(files.test)
    for atoms in structures:
        atoms.info["my_energy"] = atoms.get_potential_energy()
        atoms.calc = None
    ase.io.write(tmp_path / "e.xyz", structures)
    (tmp_path / "c.toml").write_text("[keys]\nenergy = 'my_energy'\n")
    target = tmp_path / "e.json"
    _, err = run("evaluate", files.model, tmp_path / "e.xyz", status=2)
    assert "No frame has an energy" in err
    assert "table [keys]" in err
    out, _ = run("evaluate", files.model, tmp_path / "e.xyz", "--json", target, "--config", tmp_path / "c.toml")
    document = json.loads(target.read_text())
    assert list(document) == ["frames", "atoms", "energy", "by_group"]
    assert "forces" not in out
    assert len(table_of(out)["total"]) == 4


def test_evaluate_of_several_files(files: Files, run: Run, tmp_path: Path) -> None:
    structures = read_frames(files.test)
    names = [tmp_path / "a.xyz", tmp_path / "b.xyz"]
    for name, part in zip(names, (structures[:1], structures[1:]), strict=True):
        ase.io.write(name, part)
    whole, _ = run("evaluate", files.model, files.test)
    out, _ = run("evaluate", files.model, *names, "--plot", tmp_path / "p.png")
    assert out.startswith(f"{files.model} on {names[0]}, {names[1]}\n")
    assert out.splitlines()[1:] == whole.splitlines()[1:]
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_training_frames_in_the_test_are_pointed_out(files: Files, run: Run) -> None:
    _, err = run("evaluate", files.model, files.train)
    assert "gapkit: warning: 6 frames of" in err


def test_info(files: Files, run: Run, tmp_path: Path) -> None:
    out, err = run("info", files.model)
    model = load(files.model)
    noise = model.state_.noise
    assert err == ""
    for line in [
        r"format\s+gapkit model, schema \d+",
        rf"species\s+Si \(e0 {model.e0_[14]:.6g} eV, by least squares\)",
        r"training\s+6 frames, \d+ atoms",
        rf"sigma\s+energy {noise.energy:g} eV/atom, forces {noise.forces:g} eV/Å, stress {noise.stress:g} eV/atom",
        rf"log evidence\s+{model.log_evidence_:.1f}",
        r"calibration\s+none: standard deviations are raw",
        r"data\s+not kept",
        r"  pair0\s+r_cut 4 Å",
        r"\s+Si-Si: 20 sparse points",
        r"  soap1\s+r_cut 4 Å, n_max 3, l_max 2, sigma 0\.\d+ Å, zeta 4, delta 1 eV",
        r"\s+Si: \d+ sparse points, (rank \d+ of 18 features|18 features, not projected)",
        r"\s+stress\s+eV/angstrom\^3, tension positive",
    ]:
        assert re.search(rf"^{line}", out, re.MULTILINE), line
    for entry in model.training_["errors"]:
        scale, unit = (1.0, "eV/Å") if entry["kind"] == "forces" else (1e3, "meV")
        assert re.search(rf"^  {entry['group']}.*{scale * entry['rms']:.4g} {unit}", out, re.MULTILINE)


def test_kept_data_allow_a_refit(files: Files, run: Run, tmp_path: Path) -> None:
    run("fit", files.train, "-o", tmp_path / "m.gap", *SMALL, "--keep-data")
    assert re.search(r"^data\s+kept", run("info", tmp_path / "m.gap")[0], re.MULTILINE)
    before = load(files.model).predict(read_frames(files.test)[0]).energy
    model = load(tmp_path / "m.gap")
    model.refit(Noise()).refit(load(files.model).state_.noise)
    assert model.predict(read_frames(files.test)[0]).energy == pytest.approx(before, rel=1e-9)


def test_verbose_says_what_the_library_does(files: Files, run: Run, tmp_path: Path) -> None:
    _, quiet = run("fit", files.train, "-o", tmp_path / "m.gap", *SMALL)
    _, verbose = run("fit", files.train, "-o", tmp_path / "m.gap", *SMALL, "-v")
    assert "log evidence" not in quiet
    assert "gapkit: log evidence" in verbose


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["evaluate", "-h"], ["info", "-h"], ["--version"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    if words[0] == "fit":
        for text in (
            "sigma of energies, eV/atom; 'none' leaves them out [from the data, or 0.001]",
            "[[terms]]",
            "--r-cut also moves r0",
        ):
            assert text in " ".join(out.split())


def test_a_model_remembers_the_names_of_its_labels(files: Files, run: Run, tmp_path: Path) -> None:
    """Frames with a second energy are judged by the one that was fitted, and known again; [keys] win."""
    structures = read_frames(files.train)
    for atoms in structures:
        atoms.info["other_energy"] = atoms.get_potential_energy() - 3.0 * len(atoms)
    data, model = tmp_path / "two.xyz", tmp_path / "m.gap"
    ase.io.write(data, structures)
    (tmp_path / "other.toml").write_text("[keys]\nenergy = 'other_energy'\n")
    (tmp_path / "usual.toml").write_text("[keys]\nenergy = 'energy'\n")
    out, _ = run("fit", data, "-o", model, *SMALL, "--config", tmp_path / "other.toml")
    trained = out.split("errors on the training data")[1]
    out, err = run("evaluate", model, data)
    assert table_of(out) == table_of(trained)
    assert "6 frames of" in err
    out, err = run("evaluate", model, data, "--config", tmp_path / "usual.toml")
    assert float(table_of(out)["total"][2]) == pytest.approx(3000.0, rel=0.05)
    main(["extend", str(model), str(data), "-o", str(tmp_path / "more.gap")])
    assert not (tmp_path / "more.gap").exists()  # the frames are in the fit already


def test_labels_in_other_units_are_noticed(files: Files, run: Run, tmp_path: Path) -> None:
    structures = read_frames(files.train)
    for k, atoms in enumerate(structures):
        atoms.calc.results["forces"] = -30.0 * np.roll(atoms.get_forces(), k + 1, axis=0)
    ase.io.write(tmp_path / "odd.xyz", structures)
    _, err = run("fit", tmp_path / "odd.xyz", "-o", tmp_path / "m.gap", *SMALL)
    assert "gapkit: warning: forces: errors on the training data are as large as the labels vary" in err
    assert "Fix: gapkit check" in err


def test_one_kind_left_out_leaves_the_choice_of_the_others(silicon: Silicon) -> None:
    data = to_frames(list(silicon.train[::6]))
    options = {"n_sparse": 20, "r_cut": 4.0, "n_max": 3, "l_max": 2, "jobs": 1}
    config = Config(e0={"Si": -0.8})
    free = make_plan(data, config, options).model.noise
    left = make_plan(data, config, {**options, "sigma_stress": None})
    given = make_plan(data, config, {**options, "sigma_stress": 0.05}).model.noise
    assert left.model.noise.stress is None
    assert left.model.noise.energy != Noise().energy
    assert free.stress != given.stress == 0.05
    assert given.energy == Noise().energy
    assert ("sigma_stress", "left out") in [(choice.name, choice.value) for choice in left.choices]
