"""The model file: deterministic bytes, nothing but numbers, and never half of a model."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import (
    GAP,
    Calibration,
    ConfigError,
    Coulomb,
    DataError,
    GAPCalculator,
    GapkitError,
    Keys,
    ModelFileError,
    Noise,
    PairTerm,
    Scale,
    SoapTerm,
    evaluate,
    load,
)
from gapkit.atoms.labels import to_frames
from gapkit.cli.output import require_writable
from gapkit.model.archive import SCHEMA, read, write
from gapkit.typing import Kind
from tests.samples import E0, cluster, crystal, fitted, fitted_two, frames, model, soap_arguments, two_species

WANT = {"energy", "energies", "forces", "stress", "energy_std", "energies_std"}


def says(model: GAP, atoms: Atoms) -> bytes:
    """All bits of a prediction."""
    p = model.predict(atoms, WANT if atoms.pbc.all() else WANT - {"stress"})
    stds = [p.energy_epistemic_std, p.energies_epistemic_std]
    parts = [p.energy, p.energies, p.forces, p.stress, *stds, list(p.by_term.values())]
    return b"".join(np.asarray(part, dtype=float).tobytes() for part in parts if part is not None)


def calibrated() -> GAP:
    """The shared model with a calibration made by hand; the shared one stays as it is."""
    forces = {0: Scale(np.array([0.01, 0.1, 1.0]), np.array([0.03, 0.2, 4.0]), 0.5), 14: Scale(np.ones(1), np.ones(1))}
    report = {"forces": {"n": 12, "nll": -0.5, "coverage": [0.5, 0.9]}}
    samples = {"forces": np.arange(8.0).reshape(4, 2)}
    one = GAP(fitted().terms, fitted().noise)
    one.state_ = fitted().state_
    scales: dict[Kind, dict[int, Scale]] = {"energy": {0: Scale(np.ones(1), np.full(1, 2.5))}, "forces": forces}
    one.calibration_ = Calibration(scales, report, samples)
    return one


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    fitted().save(tmp_path / "model.gap")
    return tmp_path / "model.gap"


def test_two_saves_are_equal(tmp_path: Path) -> None:
    """Of one model, of a model fitted again, and of a model loaded."""
    made = {"a": fitted(), "b": fitted(), "c": model().fit(frames())}
    for name, one in made.items():
        one.save(tmp_path / name, data=True)
    load(tmp_path / "a").save(tmp_path / "d", data=True)
    contents = {name: (tmp_path / name).read_bytes() for name in "abcd"}
    assert len(set(contents.values())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == list("abcd")


@pytest.mark.parametrize("data", [False, True])
def test_loaded_predicts_bit_for_bit(tmp_path: Path, data: bool) -> None:
    kinds = {
        "one species": (fitted(), [crystal(9), cluster(9), Atoms("Si")]),
        "two species": (fitted_two(), [crystal(9, symbols="SiC"), cluster(9, "SiC2"), crystal(9)]),
    }
    for name, (one, structures) in kinds.items():
        one.save(tmp_path / name, data=data)
        twin = load(tmp_path / name)
        for atoms in structures:
            assert says(twin, atoms) == says(one, atoms), name


OPTIONS: dict[str, dict[str, Any]] = {
    "mu1nu1": {"compression": {"mode": "mu1nu1", "species_weighting": {"Si": 0.5, "C": 1.5}}},
    "mu2": {"compression": {"mode": "mu2"}},
    "crossover": {"compression": {"mode": "crossover"}},
    "unweighted": {"weighting": None},
    "w0": {"weighting": {"w0": 0.2}},
    "exp": {"weighting": {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.0}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_kind_of_soap_is_kept(tmp_path: Path, name: str) -> None:
    terms = [SoapTerm(soap_arguments(**OPTIONS[name]), zeta=2, n_sparse=5), PairTerm(3.5, n_sparse=4)]
    one = GAP(terms).fit(two_species())
    one.save(tmp_path / "a.gap")
    assert says(load(tmp_path / "a.gap"), crystal(9, symbols="SiC")) == says(one, crystal(9, symbols="SiC"))


@pytest.mark.parametrize("soap", [soap_arguments(n_max=2, rbf="polynomial"), soap_arguments(n_max=2)])
def test_dscribe_engine_is_kept(tmp_path: Path, soap: dict[str, Any]) -> None:
    one = GAP([SoapTerm(soap, zeta=2, n_sparse=3, engine="auto" if "rbf" in soap else "dscribe")]).fit(frames(2))
    one.save(tmp_path / "a.gap")
    assert says(load(tmp_path / "a.gap"), cluster(9, "Si2")) == says(one, cluster(9, "Si2"))


def test_what_was_learned_is_kept(saved: Path) -> None:
    one, twin = fitted(), load(saved)
    assert twin.species_ == one.species_
    assert twin.e0_ == one.e0_
    assert twin.reach == one.reach
    assert twin.log_evidence_ == one.log_evidence_
    assert twin.training_ == one.training_
    assert twin.noise.get_params() == one.noise.get_params()
    assert [type(term) for term in twin.terms] == [type(term) for term in one.terms]
    assert np.array_equal(twin.state_.hashes, one.state_.hashes)


@pytest.mark.filterwarnings("ignore:stress_std is not calibrated:gapkit.GapkitWarning")
def test_calibration_is_kept(tmp_path: Path) -> None:
    """With its knots, report and samples, and all standard deviations bit for bit."""
    one, want = calibrated(), {"energy_std", "energies_std", "forces_std", "stress_std"}
    one.save(tmp_path / "a.gap", data=True)
    twin = load(tmp_path / "a.gap")
    assert one.calibration_ is not None
    assert twin.calibration_ is not None
    (before, knots), (after, same) = one.calibration_.describe(), twin.calibration_.describe()
    assert after == before
    assert knots.keys() == same.keys()
    assert all(np.array_equal(same[name], value) for name, value in knots.items())
    mine, theirs = one.predict(crystal(9), want), twin.predict(crystal(9), want)
    assert all(np.array_equal(getattr(mine, name), getattr(theirs, name)) for name in want)
    assert mine.energy_std != fitted().predict(crystal(9), want).energy_std
    twin.save(tmp_path / "b.gap", data=True)
    assert (tmp_path / "b.gap").read_bytes() == (tmp_path / "a.gap").read_bytes()
    assert load(tmp_path / "b.gap").refit(Noise(0.1)).calibration_ is None


def test_origins_are_kept_without_folders(tmp_path: Path) -> None:
    data = to_frames(frames(), where="/home/someone/data/train.xyz")
    one = model().fit(data)
    one.save(tmp_path / "a.gap")
    n = len(one.state_.posterior.weights_m)
    texts = [one.origin(column) for column in range(n)]
    assert [load(tmp_path / "a.gap").origin(column) for column in range(n)] == texts
    assert sum(text.startswith("train.xyz, frame ") for text in texts) == 7
    assert b"someone" not in zipfile.ZipFile(tmp_path / "a.gap").read("model.json")


def test_a_file_of_the_first_schema(saved: Path) -> None:
    """It is the present one without origins, calibration and baselines, and says so."""

    def older(content: dict[str, Any]) -> None:
        content["schema"] = 1
        for name in ("sources", "calibration", "baselines", "charges"):
            del content[name]
        for channel in (c for term in content["terms"] for c in term["channels"]):
            del channel["origins"]

    twin = load(rewritten(saved, lambda m: (document(older)(m), m.pop("soap1.Si.origins.npy"))))
    bare = copy(fitted())
    bare.state_ = replace(bare.state_, baselines=[])
    assert says(twin, crystal(9)) == says(bare, crystal(9))
    assert twin.calibration_ is None
    assert {twin.origin(column) for column in range(len(twin.state_.posterior.weights_m))} == {""}


def test_a_loaded_model_can_be_fitted_again(saved: Path) -> None:
    assert says(load(saved).fit(frames()), crystal(9)) == says(fitted(), crystal(9))


def test_refit_of_a_loaded_model_needs_its_data(tmp_path: Path) -> None:
    fitted().save(tmp_path / "with.gap", data=True)
    fitted().save(tmp_path / "without.gap")
    noise = Noise(energy=0.1, forces=0.2, stress=None)
    expected = model().fit(frames()).refit(noise)
    assert says(load(tmp_path / "with.gap").refit(noise), crystal(9)) == says(expected, crystal(9))
    with pytest.raises(GapkitError, match="data=True"):
        load(tmp_path / "without.gap").refit(noise)


def test_content_is_json_and_plain_arrays(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        document = json.loads(archive.read("model.json"))
        for name in names[1:]:
            assert name.endswith(".npy")
            np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names[0] == "model.json"
    assert (document["format"], document["schema"]) == ("gapkit model", SCHEMA)
    assert document["e0"] == {"Si": -2.5}
    assert {"energy", "length", "forces", "stress", "sigma"} <= set(document["conventions"])
    text = saved.read_bytes()
    assert b"/" not in text[:30]
    assert str(saved.parent).encode() not in text


def test_triangles_are_packed_and_zeros_deflated(tmp_path: Path, rng: np.random.Generator) -> None:
    full = rng.normal(size=(30, 30))
    arrays = {
        "upper": np.asfortranarray(np.triu(full)),
        "blocks": np.triu(np.kron(np.eye(3), full[:10, :10])),
        "full": full,
        "lower": np.tril(full),
        "tall": np.triu(rng.normal(size=(5, 3))),
        "one": full[:1, :1],
        "none": np.empty((0, 0)),
        "row": full[0],
    }
    write(tmp_path / "x.gap", {}, arrays)
    _, again = read(tmp_path / "x.gap")
    assert again.keys() == arrays.keys()
    for name, value in arrays.items():
        assert np.array_equal(again[name], value), name
        assert again[name].dtype == value.dtype
    with zipfile.ZipFile(tmp_path / "x.gap") as members:
        kept = {i.filename: (i.file_size, i.compress_type) for i in members.infolist()}
    assert [name for name in kept if "upper" in name] == ["blocks.upper.npy", "upper.upper.npy"]
    assert kept["upper.upper.npy"][0] < 0.6 * kept["full.npy"][0]
    deflated = [name for name, (_, how) in kept.items() if how == zipfile.ZIP_DEFLATED]
    assert deflated == ["model.json", "blocks.upper.npy", "lower.npy", "tall.npy"]


def test_numbers_of_numpy_in_the_settings(tmp_path: Path) -> None:
    terms = [
        PairTerm(np.float32(3.5), n_sparse=np.int64(5)),
        SoapTerm(
            soap_arguments(n_max=np.int64(3), sigma=np.float64(0.5)),
            zeta=np.int32(2),
            n_sparse={"Si": np.int64(5)},
            quotas={"crystal": np.float64(0.4)},
        ),
    ]
    noise = Noise(energy=np.float64(0.01), groups={"crystal": {"forces": np.float32(0.2)}})
    one = GAP(terms, noise, e0={"Si": np.float64(-2.5)}).fit(frames(8))
    one.save(tmp_path / "a.gap")
    assert says(load(tmp_path / "a.gap"), crystal(9)) == says(one, crystal(9))


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The model file with its members changed, and valid checksums."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def document(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
    """A change of model.json."""

    def apply(members: dict[str, bytes]) -> None:
        content = json.loads(members["model.json"])
        change(content)
        members["model.json"] = json.dumps(content).encode()

    return apply


def array(name: str, value: np.ndarray, **options: Any) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        assert name in members
        stream = io.BytesIO()
        np.save(stream, value, **options)
        members[name] = stream.getvalue()

    return apply


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was run",)


def test_rewriting_alone_is_harmless(saved: Path) -> None:
    before = says(fitted(), crystal(9))
    assert says(load(rewritten(saved, lambda members: None)), crystal(9)) == before


def shared(members: dict[str, bytes], share: float | None) -> None:
    """A calibration of energies with this share of the prior part, or without any."""
    scale = {"energy": {"0": 1.0}}
    shares: dict[str, Any] = {"energy": {} if share is None else {"0": share}}
    made = {"prior_known": scale, "prior_share": shares, "report": {}, "samples": []}
    document(lambda d: d.update(calibration=made))(members)
    for name in ("raw", "sigma"):
        stream = io.BytesIO()
        np.save(stream, np.ones(1))
        members[f"calibration.energy.0.{name}.npy"] = stream.getvalue()


BROKEN: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "no document": lambda m: m.pop("model.json"),
    "no json": lambda m: m.update({"model.json": b"{"}),
    "json of another kind": lambda m: m.update({"model.json": b"[1]"}),
    "null": lambda m: m.update({"model.json": b"null"}),
    "no schema": document(lambda d: d.pop("schema")),
    "schema 0": document(lambda d: d.update(schema=0)),
    "schema in words": document(lambda d: d.update(schema="one")),
    "no terms": document(lambda d: d.update(terms=[])),
    "no training": document(lambda d: d.pop("training")),
    "no e0": document(lambda d: d.pop("e0")),
    "no calibration": document(lambda d: d.pop("calibration")),
    "calibration of another kind": document(lambda d: d.update(calibration=[])),
    "calibration without scales": document(lambda d: d.update(calibration={"prior_known": None})),
    "calibration without knots": document(
        lambda d: d.update(
            calibration={
                **{key: {"forces": {"0": 1.0}} for key in ("prior_known", "prior_share")},
                "report": {},
                "samples": [],
            }
        )
    ),
    "calibration with a share below zero": lambda m: shared(m, -1.0),
    "calibration without shares": lambda m: shared(m, None),
    "no sources": document(lambda d: d.pop("sources")),
    "source without a place": document(lambda d: d.update(sources=[{"frame": 1}])),
    "no word of origins": document(lambda d: d["terms"][1]["channels"][0].pop("origins")),
    "no origins": lambda m: m.pop("soap1.Si.origins.npy"),
    "origins of another model": array("soap1.Si.origins.npy", np.zeros((2, 3), dtype=int)),
    "unknown element": document(lambda d: d.update(e0={"Sx": 1.0})),
    "unknown term": document(lambda d: d["terms"][0].update(type="triplet")),
    "unknown noise": document(lambda d: d["noise"].update(colour=1.0)),
    "unknown setting": document(lambda d: d["settings"][0].update(colour=1.0)),
    "wrong theta": document(lambda d: d["terms"][0].update(theta=-1.0)),
    "wrong zeta": document(lambda d: d["terms"][1].update(zeta=0)),
    "no weights": lambda m: m.pop("weights.npy"),
    "no points": lambda m: m.pop("soap1.Si.points.npy"),
    "no exponents": lambda m: m.pop("soap1.alphas.npy"),
    "weights of another model": array("weights.npy", np.zeros(3)),
    "factor of another model": array("prior.upper.npy", np.ones(6)),
    "columns of no triangle": array("posterior.upper.npy", np.ones(7)),
    "posterior of another model": array("posterior.upper.npy", np.ones(6)),
    "pickled array": array("weights.npy", np.array([Trap()], dtype=object), allow_pickle=True),
    "pickle": lambda m: m.update({"weights.npy": pickle.dumps(Trap())}),
    "member of another kind": lambda m: m.update({"run.py": b"import os"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_does_not_hold_together(saved: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="damaged or truncated") as error:
        load(rewritten(saved, BROKEN[name]))
    assert str(saved) in error.value.where
    assert "again" in error.value.fix


@pytest.mark.parametrize("more", [{}, {"terms": "of a kind that is not known yet"}])
def test_a_newer_model(saved: Path, more: dict[str, Any]) -> None:
    """Known by its schema before anything else is read."""
    newer = document(lambda d: d.update(schema=SCHEMA + 1, **more))
    message = rf"schema {SCHEMA + 1}, this gapkit reads up to {SCHEMA}.*install a newer gapkit"
    with pytest.raises(ModelFileError, match=message):
        load(rewritten(saved, lambda m: (newer(m), m.update({"tree.bin": b"?"}), m.pop("weights.npy"))))


def test_other_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no gapkit model"):
        load(rewritten(saved, document(lambda d: d.update(format="other"))))
    for content in (b"", b"PK\x03\x04"):
        saved.write_bytes(content)
        with pytest.raises(ModelFileError, match="damaged or truncated"):
            load(saved)
    saved.write_bytes(b"3\nSi")
    with pytest.raises(ModelFileError, match=r"no gapkit model.*the model comes before the structures"):
        load(saved)
    for path, message in ((tmp_path, "is a directory"), (tmp_path / "nothing.gap", "does not exist")):
        with pytest.raises(ModelFileError, match=message):
            load(path)


def test_truncated_anywhere(saved: Path) -> None:
    content = saved.read_bytes()
    for length in [*range(0, len(content) - 1, len(content) // 60), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="damaged or truncated"):
            load(saved)


def test_a_flipped_bit_anywhere(saved: Path, rng: np.random.Generator) -> None:
    """It is found, or it is where nothing depends on it (dates, permissions)."""
    content, before = saved.read_bytes(), says(fitted(), crystal(9))
    directory = content.index(b"PK\x01\x02")
    places = [*rng.integers(0, directory, 150), *range(directory, len(content), 5)]
    found = 0
    for place in places:
        saved.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.integers(8))]) + content[place + 1 :])
        try:
            twin = load(saved)
        except ModelFileError:
            found += 1
        else:
            assert says(twin, crystal(9)) == before, place
    assert found > 0.6 * len(places)


def test_save_replaces_and_leaves_nothing_behind(saved: Path) -> None:
    fitted_two().save(saved)
    assert load(saved).species_ == (6, 14)
    assert [path.name for path in saved.parent.iterdir()] == ["model.gap"]


@pytest.mark.parametrize("stop", ["replace", "fsync", "write", "interrupt"])
def test_an_interrupted_save_leaves_the_old_file_whole(saved: Path, stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, calls = saved.read_bytes(), 0

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def fail_later(self: zipfile.ZipFile, *given: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt if stop == "interrupt" else OSError(28, "No space left on device")
        write(self, *given, **options)

    write = zipfile.ZipFile.writestr
    if stop in ("replace", "fsync"):
        monkeypatch.setattr(os, stop, fail)
    else:
        monkeypatch.setattr(zipfile.ZipFile, "writestr", fail_later)
    with pytest.raises(KeyboardInterrupt if stop == "interrupt" else ModelFileError) as error:
        fitted_two().save(saved)
    monkeypatch.undo()
    if stop != "interrupt":
        assert "No space left on device" in str(error.value)
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == ["model.gap"]
    assert says(load(saved), crystal(9)) == says(fitted(), crystal(9))


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "a.gap", tmp_path / "file" / "a.gap", tmp_path / "folder"):
        with pytest.raises(ModelFileError, match="cannot be written") as error:
            fitted().save(path)
        assert str(path) in error.value.where
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_path_may_be_relative_and_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fitted().save("a.gap")
    assert says(load("a.gap"), crystal(9)) == says(fitted(), crystal(9))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    fitted().save(tmp_path / "a.gap")
    assert stat.S_IMODE((tmp_path / "a.gap").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    (tmp_path / "a.gap").chmod(0o640)
    fitted().save(tmp_path / "a.gap")
    assert stat.S_IMODE((tmp_path / "a.gap").stat().st_mode) == 0o640


def test_size_without_the_data(tmp_path: Path) -> None:
    fitted().save(tmp_path / "a.gap")
    fitted().save(tmp_path / "b.gap", data=True)
    assert (tmp_path / "a.gap").stat().st_size < (tmp_path / "b.gap").stat().st_size
    assert load(tmp_path / "a.gap").predict(Atoms("Si")).energy == pytest.approx(E0["Si"], abs=1e-6)


def test_the_name_of_the_charges_stays(tmp_path: Path) -> None:
    """A structure has charges of several kinds, and the model reads those that it was fitted with."""
    data = frames()
    for atoms in data:
        atoms.set_array("bader", np.linspace(-0.3, 0.3, len(atoms)))
        atoms.set_initial_charges(np.linspace(2.0, -2.0, len(atoms)))
    fit = model(baselines=[Coulomb("initial_charges")], keys=Keys(charges="bader")).fit(data)
    fit.save(tmp_path / "ions.gap")
    twin, atoms = load(tmp_path / "ions.gap"), data[2]
    assert twin.keys == Keys(charges="bader")
    for one in (fit, twin):
        assert one.predict(atoms).by_term["coulomb"] == pytest.approx(fit.predict(atoms).by_term["coulomb"], rel=1e-14)
        assert one.predict([atoms])[0].energy == fit.predict(atoms).energy
        assert one.sample(2).predict(atoms)[0].by_term["coulomb"] == fit.predict(atoms).by_term["coulomb"]
    atoms.calc = GAPCalculator(twin)
    assert atoms.get_potential_energy() == fit.predict(atoms).energy
    other = model(baselines=[Coulomb("initial_charges")]).fit(data)
    assert abs(other.predict(atoms).by_term["coulomb"]) > 2.0 * abs(fit.predict(atoms).by_term["coulomb"])


def test_the_names_of_the_labels_stay(tmp_path: Path) -> None:
    """A loaded model evaluates, and knows its training frames again, by the labels that it was fitted to."""
    data = frames()
    for atoms in data:
        atoms.info["E_new"] = atoms.get_potential_energy() + 0.01 * len(atoms)
    one = model(keys=Keys(energy="E_new")).fit(data)
    one.save(tmp_path / "a.gap")
    twin = load(tmp_path / "a.gap")
    assert twin.keys == one.keys
    assert twin.trained_on(data) == [True] * len(data)
    assert evaluate(twin, data).as_dict() == evaluate(one, data).as_dict()
    for atoms in data:
        del atoms.info["E_new"]
    with pytest.raises(DataError, match="No frame has 'E_new'"):
        evaluate(twin, data)
    assert twin.predict(data[1].copy()).energy == one.predict(data[1].copy()).energy


def test_links_stay_links_and_devices_devices(saved: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.gap", tmp_path / "pipe"
    link.symlink_to(saved)
    before = saved.read_bytes()
    fitted_two().save(link)
    assert link.is_symlink()
    assert saved.read_bytes() != before
    assert load(link).species_ == fitted_two().species_
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        fitted().save(pipe)
        assert read.result(60)[:2] == b"PK"
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such name here")
def test_what_a_program_prints_to_can_be_an_output(tmp_path: Path) -> None:
    """A pipe, or a file that has something in it already."""
    code = "import pathlib\nfrom gapkit.model.archive import replacing\nprint('before', flush=True)\n"
    code += "with replacing(pathlib.Path('/dev/stdout')) as stream: stream.write(b'after')"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout == b"before\nafter"
    with (tmp_path / "out.txt").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out.txt").read_bytes() == b"before\nafter"


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.gap").symlink_to(tmp_path / "b.gap")
    (tmp_path / "b.gap").symlink_to(tmp_path / "a.gap")
    with pytest.raises(ModelFileError, match="cannot be written"):
        fitted().save(tmp_path / "a.gap")
    with pytest.raises(ConfigError, match="nothing can be written here"):
        require_writable(tmp_path / "a.gap", inputs=[])
