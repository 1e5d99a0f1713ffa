"""Labels taken out of a fit against fits that never saw them, on the same sparse points."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, DataError, Noise, PairTerm, SoapTerm, load
from gapkit.atoms.labels import to_frames
from gapkit.gp.posterior import solve
from gapkit.model.fitting import sigmas_of
from tests.samples import cluster, crystal, frames, fresh, label, numbers, soap_arguments, two_species

SIGMAS = {"energy": 0.002, "forces": 0.05, "stress": 0.02}


def model(**changes: Any) -> GAP:
    """A SOAP alone, whose weights magnify rounding little, and a repulsion."""
    return GAP([SoapTerm(soap_arguments(), zeta=2, n_sparse=5)], **{"noise": Noise(**SIGMAS), **changes})


def assert_alike(one: GAP, other: GAP, tolerance: float = 1e-8, atoms: Atoms | None = None) -> None:
    """Energies, forces, stresses, their σ, and the evidence."""
    expected = numbers(other, atoms)
    assert np.abs(numbers(one, atoms) - expected).max() <= tolerance * np.abs(expected).max()
    assert one.log_evidence_ == pytest.approx(other.log_evidence_, rel=1e-8)


@pytest.mark.parametrize(
    ("gone", "kept_groups"),
    [([1], {"crystal", "cluster"}), ([2, 5, 6], {"crystal", "cluster"}), ([1, 3, 5, 7], {"cluster"}), ([0, 4], None)],
)
def test_it_is_a_fit_without_them(gone: list[int], kept_groups: set[str] | None) -> None:
    """One frame, several, all of a config_type, and the isolated atom, which is e0 and no label."""
    structures = frames(8)
    fit = model().fit(structures)
    before = numbers(fit)
    made = copy(fit).remove([structures[k] for k in gone])
    left = [a for k, a in enumerate(structures) if k not in gone]
    assert_alike(made, fresh(fit, left))
    assert np.abs(numbers(made) - before).max() > 1e-4
    assert np.array_equal(numbers(fit), before)
    if kept_groups:
        assert {e["group"] for e in made.training_["errors"]} == kept_groups
    rows = {(e["group"], e["kind"]): e["rows"] for e in fresh_errors(fit, left)}
    assert {(e["group"], e["kind"]): e["rows"] for e in made.training_["errors"]} == rows
    assert made.training_["frames"] == len(left)
    assert made.training_["atoms"] == sum(map(len, left))
    assert made.trained_on(structures) == [k not in gone for k in range(len(structures))]


def fresh_errors(fit: GAP, structures: Sequence[Atoms]) -> list[dict[str, Any]]:
    return list(GAP(fit.terms, fit.noise, e0={"Si": -2.5}).fit(structures).training_["errors"])


def test_piece_by_piece_and_a_file_between(tmp_path: Any) -> None:
    structures = frames(8)
    fit = model().fit(structures)
    at_once = copy(fit).remove(structures[1:6])
    made = copy(fit)
    for k in range(1, 6):
        made.save(tmp_path / "a.gap", data=True)
        made = load(tmp_path / "a.gap").remove([structures[k]])
    assert_alike(made, at_once)


def test_with_a_pair_term_whose_weights_are_large() -> None:
    """Rounding of weights of 1e5 is all that is added."""
    structures, terms = frames(8), [PairTerm(3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, n_sparse=8)]
    fit = GAP(terms, Noise(**SIGMAS)).fit(structures)
    assert_alike(copy(fit).remove(structures[2:4]), fresh(fit, [*structures[:2], *structures[4:]]), 1e-6)


def test_masks_and_own_sigmas() -> None:
    structures = frames(6)
    structures[2].arrays["force_mask"] = np.array([True, False, False, False])
    structures[3].info["energy_sigma"] = 0.01
    structures[4].arrays["force_atom_sigma"] = np.linspace(0.02, 0.3, 4)
    fit = model().fit(structures)
    for gone in ([2], [3, 4]):
        left = [a for k, a in enumerate(structures) if k not in gone]
        assert_alike(copy(fit).remove([structures[k] for k in gone]), fresh(fit, left))


def test_kinds_that_the_fit_left_out() -> None:
    """By the noise of the fit; what another noise leaves out later is taken out, too."""
    structures = frames(6)
    fit = model(noise=Noise(0.002, 0.05, None)).fit(structures)
    assert_alike(copy(fit).remove(structures[1:3]), fresh(fit, [structures[0], *structures[3:]]))
    whole = model().fit(structures)
    quiet = copy(whole).refit(Noise(0.002, None, 0.02)).remove(structures[1:3])
    assert_alike(quiet.refit(Noise(**SIGMAS)), fresh(whole, [structures[0], *structures[3:]]))


def test_after_an_extension() -> None:
    """New frames go; old ones cannot, once there are new sparse points."""
    structures, data = frames(4), two_species(4)[1:]
    fit = model().fit(structures).extend(data)
    made = copy(fit).remove(data[1:3])
    again = model().fit(structures).extend(data)
    taken = [f for f in again.state_.rows or () if f.key.group in ("crystal", "cluster", "")]
    rest = fresh(again, [data[0], *data[3:]]).state_.rows or ()
    rows = [*taken, *(p for p in rest if p.key.group == "default")]
    again.state_ = replace(again.state_, posterior=solve(again.state_.prior_mm, *sigmas_of(rows, again.state_.noise)))
    assert_alike(made, again, 1e-7, crystal(9, symbols="SiC"))
    with pytest.raises(DataError, match=r"bound to the sparse points of an earlier fit \(frame 0\).*old_frames"):
        fit.remove([structures[1]])
    with_old = model().fit(structures).extend(data, old_frames=structures)
    assert_alike(
        copy(with_old).remove([structures[1], data[1]]),
        fresh(with_old, [structures[0], *structures[2:], data[0], *data[2:]]),
        1e-7,
        crystal(9, symbols="SiC"),
    )


def test_origins_are_kept_apart_after_a_removal() -> None:
    """Frames that are added later do not take the place of those that went."""
    old = to_frames(frames(4), where="old.xyz")
    fit = model().fit(old)
    words = [fit.origin(m) for m in range(fit.state_.terms[0].n_columns)]
    fit.remove(old[-2:]).extend(to_frames([crystal(40), cluster(41)], where="new.xyz"))
    later = [fit.origin(m) for m in range(fit.state_.terms[0].n_columns)]
    assert later[: len(words)] == words
    assert {w.split(",")[0] for w in later[len(words) :]} == {"new.xyz"}
    assert len(later) > len(words)


def other_energy(atoms: Atoms) -> Atoms:
    found = label(atoms.copy())
    found.calc.results["energy"] += 0.1
    return found


def other_stress(atoms: Atoms) -> Atoms:
    found = label(atoms.copy(), config_type="crystal")
    found.calc.results["stress"] = found.calc.results["stress"] + 0.05
    return found


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        ([crystal(77)], r"not in the fit \(frame 0\).*training frames"),
        ([frames()[1], other_energy(frames()[1])], r"not in the fit \(frame 1\)"),
        ([other_stress(frames()[1])], "stress labels of 'crystal' are not among those of the fit"),
        ([frames()[1], frames()[1]], r"not in the fit \(frame 1\)"),  # it was there once
        (frames(), "No label of the fit would be left"),
        ([], "no structures"),
    ],
)
def test_errors_leave_the_model_as_it_was(gone: list[Atoms], text: str) -> None:
    fit = model().fit(frames())
    before = fit.state_
    with pytest.raises(DataError, match=text):
        fit.remove(gone)
    assert fit.state_ is before


def test_a_model_without_its_data_and_a_summary_cannot(tmp_path: Any) -> None:
    structures = frames(4)
    fit = model().fit(structures)
    fit.save(tmp_path / "a.gap")
    loaded = load(tmp_path / "a.gap")
    with pytest.raises(ConfigError, match=r"saved without its compressed data.*data=True"):
        loaded.remove([structures[1]])
    data = [label(crystal(50), config_type="later")]
    loaded.extend(data)
    with pytest.raises(DataError, match="bound to the sparse points"):
        loaded.remove([structures[1]])
    assert loaded.remove(data).training_["frames"] == len(structures)
