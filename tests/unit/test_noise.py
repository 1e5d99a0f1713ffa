"""σ of every observation row against a table written by hand, and through the fit itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gapkit.atoms.frame import Frame
from gapkit.baselines.base import Contribution
from gapkit.errors import ConfigError
from gapkit.gp.compress import DataFold
from gapkit.gp.design import FrameRows
from gapkit.gp.noise import Noise, own_sigma, row_scale
from gapkit.gp.posterior import solve
from gapkit.model.fitting import sigmas_of
from gapkit.typing import Kind

NOISE = Noise(
    energy=0.01, forces=0.1, stress=0.3, groups={"liquid": {"energy": 0.05, "stress": None}, "gas": {"forces": None}}
)
VOLUME = 24.0

# group, kind, number of atoms, σ of the row: total energy eV, force component eV/Å, stress component eV/Å³
TABLE: list[tuple[str, Kind, int, float | None]] = [
    ("default", "energy", 1, 0.01),
    ("default", "energy", 4, 0.02),
    ("default", "energy", 9, 0.03),
    ("default", "forces", 1, 0.1),
    ("default", "forces", 9, 0.1),
    ("default", "stress", 1, 0.3 / 24.0),
    ("default", "stress", 4, 0.6 / 24.0),
    ("default", "stress", 9, 0.9 / 24.0),
    ("liquid", "energy", 4, 0.10),
    ("liquid", "forces", 4, 0.1),
    ("liquid", "stress", 4, None),
    ("gas", "energy", 4, 0.02),
    ("gas", "forces", 4, None),
    ("unheard of", "energy", 4, 0.02),
]


def frame(n_atoms: int, group: str = "default", **changes: Any) -> Frame:
    """A labelled crystal of 24 Å³."""
    positions = np.column_stack([np.arange(n_atoms) * 0.4, np.zeros(n_atoms), np.zeros(n_atoms)])
    labels = {"energy": 3.0, "forces_ec": np.full((n_atoms, 3), 3.0), "stress_v": np.full(6, 3.0)}
    cell = np.diag([4.0, 2.0, 3.0])
    return Frame(np.full(n_atoms, 14), positions, cell, np.ones(3, bool), group=group, **{**labels, **changes})


def effective_sigma(frame: Frame, kind: Kind, noise: Noise, row: int = 0) -> float | None:
    """σ of one label as the fit felt it: with one sparse point of unit variance, weight = k y / (k² + σ²)."""
    k, y = 2.0, 3.0
    forces_nm, virial_vm = np.zeros((3 * frame.n_atoms, 1)), np.zeros((6, 1))
    # the observed stress is the virial over V; its row is the row of the virial over V
    (forces_nm if kind == "forces" else virial_vm)[row] = k * VOLUME if kind == "stress" else k
    fold = DataFold(1)
    fold.add(frame, FrameRows(np.array([k]), forces_nm, virial_vm), Contribution.zero(frame.n_atoms, {kind}), {kind})
    try:
        used, sigmas = sigmas_of(fold.finish(), noise)
    except ConfigError:  # nothing is left to fit
        return None
    weight = solve(np.eye(1), used, sigmas).weights_m[0]
    return float(np.sqrt(k * y / weight - k * k))


@pytest.mark.parametrize(("group", "kind", "n_atoms", "sigma"), TABLE)
def test_table(group: str, kind: Kind, n_atoms: int, sigma: float | None) -> None:
    found = effective_sigma(frame(n_atoms, group), kind, NOISE)
    assert found == (None if sigma is None else pytest.approx(sigma, rel=1e-6))


def test_sigma_of_a_group_and_scale_of_a_row() -> None:
    assert NOISE.sigma("liquid", "energy") == 0.05
    assert NOISE.sigma("liquid", "forces") == 0.1
    assert NOISE.sigma("liquid", "stress") is None
    assert [row_scale(kind, 16) for kind in ("energy", "forces", "stress")] == [4.0, 1.0, 4.0]


def test_none_leaves_a_kind_out() -> None:
    assert effective_sigma(frame(4), "energy", Noise(energy=None)) is None
    assert effective_sigma(frame(4, "a"), "energy", Noise(energy=None, groups={"a": {"energy": 0.1}})) is not None


def test_sigma_that_a_frame_brings_replaces_noise() -> None:
    """In the units of Noise: per atom and times √N for energy and virial; unscaled for forces."""
    own = frame(4, "gas", sigma={"energy": 0.2, "forces": 0.7, "stress": 0.5})
    assert own_sigma(own, "energy") == pytest.approx(0.4)
    for noise in (NOISE, Noise(energy=None, forces=None, stress=None)):
        assert effective_sigma(own, "energy", noise) == pytest.approx(0.4, rel=1e-6)
        assert effective_sigma(own, "forces", noise) == pytest.approx(0.7, rel=1e-6)
        assert effective_sigma(own, "stress", noise) == pytest.approx(1.0 / 24.0, rel=1e-6)
    assert own_sigma(frame(4), "energy") is None


def test_sigma_of_each_atom_wins_over_that_of_the_frame() -> None:
    own = frame(3, sigma={"forces": 0.7}, force_sigma_e=np.array([0.1, 0.2, 0.4]))
    assert own_sigma(own, "forces") == pytest.approx([0.1] * 3 + [0.2] * 3 + [0.4] * 3)
    for row, sigma in ((0, 0.1), (3, 0.2), (5, 0.2), (8, 0.4)):
        assert effective_sigma(own, "forces", NOISE, row) == pytest.approx(sigma, rel=1e-6)


def test_sigma_of_each_atom_with_a_mask() -> None:
    mask = np.array([True, False, True])
    own = frame(3, force_sigma_e=np.array([0.1, 0.2, 0.4]), force_mask_e=mask)
    for row, sigma in ((0, 0.1), (8, 0.4)):
        assert effective_sigma(own, "forces", NOISE, row) == pytest.approx(sigma, rel=1e-6)


WRONG: list[dict[str, Any]] = [
    {"energy": -0.1},
    {"energy": 0.0},
    {"forces": float("nan")},
    {"stress": float("inf")},
    {"stress": "0.1"},
    {"energy": True},
    {"groups": {"a": {"energy": -1.0}}},
]


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_a_sigma_that_is_not_positive_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not a positive number") as error:
        Noise(**settings).check()
    assert "> 0" in error.value.fix


def test_wrong_kinds_and_forms_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"groups\['a'\] has no kind 'force'.*did you mean 'forces'"):
        Noise(groups={"a": {"force": 0.1}}).check()
    with pytest.raises(ConfigError, match="is no dictionary"):
        Noise(groups={"a": 0.1}).check()  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="is no dictionary"):
        Noise(groups=0.1).check()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="force"):
        Noise(force=0.1)  # type: ignore[call-arg]
    Noise(None, None, None).check()
