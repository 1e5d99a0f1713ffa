"""Errors of a model over structures: against sums written out by hand, per group, with labels missing."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa

from gapkit import GAP, DataError, Evaluation, Keys, NotFittedError, PairTerm, SpeciesError, evaluate
from gapkit.typing import KINDS
from tests.samples import cluster, crystal, frames


@pytest.fixture(scope="module")
def model() -> GAP:
    """A poor model, so that errors are not small."""
    return GAP([PairTerm(r_cut=3.6, n_sparse=5)]).fit(frames(6), rng=0)


@pytest.fixture(scope="module")
def structures() -> list[Atoms]:
    """Two groups, of which "b" has no stress, and a crystal with an energy only."""
    return [
        crystal(11, config_type="a"),
        cluster(12, "Si5", config_type="b"),
        crystal(13, kinds=["energy"], config_type="a"),
        cluster(14, "Si3", kinds=["forces"], config_type="b"),
    ]


def errors(pairs: list[tuple[float, float]], scale: float = 1.0) -> tuple[float, float]:
    """MAE and RMSE of (true, predicted), the slow way."""
    differences = [scale * (predicted - true) for true, predicted in pairs]
    mae = sum(abs(d) for d in differences) / len(differences)
    return mae, (sum(d * d for d in differences) / len(differences)) ** 0.5


def by_hand(model: GAP, structures: list[Atoms]) -> dict[str, dict[str, float]]:
    """The errors of some structures, from `predict` and the labels in the calculators."""
    energies, forces, stresses = [], [], []
    for atoms in structures:
        p, labels = model.predict(atoms), atoms.calc.results
        if "energy" in labels:
            energies.append((labels["energy"] / len(atoms), p.energy / len(atoms)))
        if "forces" in labels:
            forces += list(zip(labels["forces"].ravel(), p.forces.ravel(), strict=True))
        if "stress" in labels:
            stresses += list(zip(labels["stress"] / GPa, p.stress / GPa, strict=True))
    table = {}
    if energies:
        table["energy"] = dict(zip(("mae_meV_per_atom", "rmse_meV_per_atom"), errors(energies, 1e3), strict=True))
    if forces:
        table["forces"] = dict(zip(("mae_eV_per_A", "rmse_eV_per_A"), errors(forces), strict=True))
    if stresses:
        table["stress"] = dict(zip(("mae_GPa", "rmse_GPa"), errors(stresses), strict=True))
    return table


def test_errors_by_hand(model: GAP, structures: list[Atoms]) -> None:
    found = evaluate(model, structures).as_dict()
    groups = found.pop("by_group")
    assert list(groups) == ["a", "b"]
    parts = {"a": structures[::2], "b": structures[1::2]}
    for result, own in [(found, structures), (groups["a"], parts["a"]), (groups["b"], parts["b"])]:
        assert result.pop("frames") == len(own)
        assert result.pop("atoms") == sum(map(len, own))
        expected = by_hand(model, own)
        assert result.keys() == expected.keys()
        for kind, numbers in expected.items():
            assert result[kind] == pytest.approx(numbers, rel=1e-9)
    assert found["energy"]["rmse_meV_per_atom"] > 1.0  # else nothing was compared


def test_repr_is_one_line(model: GAP, structures: list[Atoms]) -> None:
    found = evaluate(model, structures)
    expected = by_hand(model, structures)
    assert "\n" not in repr(found)
    assert f"energy {expected['energy']['rmse_meV_per_atom']:.3g} meV/atom" in repr(found)
    assert f"stress {expected['stress']['rmse_GPa']:.3g} GPa" in str(found)
    assert "4 frames" in repr(found)
    assert "2 config_types" in repr(found)
    assert "no label" in repr(Evaluation(0, 0))


def test_arrays_are_in_the_order_of_the_frames(model: GAP, structures: list[Atoms]) -> None:
    found = evaluate(model, structures)
    forces = [s for s in structures if "forces" in s.calc.results]
    assert np.array_equal(found.forces.true_n, np.concatenate([s.calc.results["forces"].ravel() for s in forces]))
    assert np.array_equal(found.forces.predicted_n, np.concatenate([model.predict(s).forces.ravel() for s in forces]))
    with_energy = [s for s in structures if "energy" in s.calc.results]
    binding = [(s.calc.results["energy"] - len(s) * model.e0_[14]) / len(s) for s in with_energy]
    assert np.allclose(found.energy.true_n, binding, rtol=0, atol=1e-12)
    assert np.allclose(found.stress.true_n, structures[0].calc.results["stress"] / GPa, rtol=1e-14)


def test_a_group_without_labels_has_no_errors(model: GAP) -> None:
    found = evaluate(model, [crystal(1, config_type="a"), crystal(2, kinds=[], config_type="bare")])
    assert found.by_group["bare"].as_dict() == {"frames": 1, "atoms": 2}
    assert found.frames == 2
    assert len(found.energy.true_n) == 1


def test_masked_forces_do_not_count(model: GAP) -> None:
    atoms = cluster(5, "Si4")
    everything = evaluate(model, [atoms]).forces
    atoms.calc.results["forces"][2] += 100.0  # what a mask leaves out may be anything
    atoms.arrays["force_mask"] = np.array([0, 0, 1, 0])
    left = evaluate(model, [atoms]).forces
    assert np.array_equal(left.true_n, np.delete(everything.true_n.reshape(4, 3), 2, axis=0).ravel())
    atoms.arrays["force_mask"][:] = 1
    assert evaluate(model, [atoms]).forces is None


def test_names_of_the_labels(model: GAP) -> None:
    atoms = crystal(3, kinds=[])
    atoms.info["my_energy"] = -5.0
    found = evaluate(model, [atoms], keys=Keys(energy="my_energy"))
    assert found.energy.true_n * 2 + 2 * model.e0_[14] == pytest.approx([-5.0])
    renamed = GAP(keys=Keys(energy="my_energy"))
    renamed.state_ = model.state_
    assert np.array_equal(evaluate(renamed, [atoms]).energy.true_n, found.energy.true_n)
    with pytest.raises(DataError, match=r"No frame has an energy.*my_energy"):
        evaluate(model, [atoms])


def test_threads_change_nothing(model: GAP, structures: list[Atoms]) -> None:
    one = evaluate(model, structures)
    two = GAP(n_jobs=2)
    two.state_ = model.state_
    assert evaluate(two, structures).as_dict() == one.as_dict()


def test_bad_input(model: GAP, structures: list[Atoms]) -> None:
    with pytest.raises(NotFittedError):
        evaluate(GAP(), structures)
    with pytest.raises(DataError, match="no structures"):
        evaluate(model, [])
    foreign = Atoms("SiGe", [[0, 0, 0], [0, 0, 2.4]])
    foreign.info["energy"] = 1.0
    with pytest.raises(SpeciesError, match=r"Ge at atoms 1.*frame 4"):
        evaluate(model, [*structures, foreign])


def test_nothing_is_changed(model: GAP, structures: list[Atoms]) -> None:
    copies = [atoms.copy() for atoms in structures]
    result = evaluate(model, structures)
    assert isinstance(result, Evaluation)
    for atoms, copy in zip(structures, copies, strict=True):
        assert atoms == copy
        assert atoms.info.keys() == copy.info.keys()


def test_only_some_kinds_are_compared(model: GAP, structures: list[Atoms]) -> None:
    everything = evaluate(model, structures)
    for kind in KINDS:
        some = evaluate(model, structures, kinds=(kind,), progress=False)
        assert [k for k in KINDS if some.comparison(k) is not None] == [kind]
        assert some.comparison(kind).rmse == pytest.approx(everything.comparison(kind).rmse, rel=1e-8)
        assert (some.frames, some.atoms) == (everything.frames, everything.atoms)
    assert set(evaluate(model, structures, kinds=()).by_group) == {"a", "b"}
