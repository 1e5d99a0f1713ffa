"""Laws of a fitted `GAP`: its limits, what more data may do, and that no detour changes it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from sklearn.base import clone

from gapkit import GAP, Noise, Prediction, load
from gapkit.atoms.labels import to_frame
from gapkit.testing.law import there, wanted
from gapkit.testing.tolerances import ALGEBRA, near, require
from gapkit.typing import KINDS

GAPLaw = Callable[[GAP, Sequence[Atoms], Sequence[Atoms]], None]
"""A law about a model, the frames it was fitted to (with rng=0), and other structures."""

EVERYTHING: Final = ("energy", "energies", "forces", "stress", "energy_std", "energies_std")
_ISOLATED: Final = 1e-6  # eV
_ISOLATED_STD: Final = 2e-5  # eV; the exact rows have 1e-5
_INFINITE: Final = 1e12


def isolated_atom_has_e0(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Law 8: to 1e-6 eV, and its standard deviation is as small."""
    for z in model.species_:
        p = model.predict(Atoms([z]), {"energy", "energy_std", "forces"})
        symbol, error = chemical_symbols[z], abs(p.energy - model.e0_[z])
        require(error <= _ISOLATED, f"an isolated {symbol} atom is {error:.2e} eV from e0")
        std = p.energy_epistemic_std
        require(std <= _ISOLATED_STD, f"σ of an isolated {symbol} atom is {std:.2e} eV")
        near(p.forces, np.zeros((1, 3)), ALGEBRA, "force on an isolated atom")


def removing_data_never_lowers_variance(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Law 13, for each (group, kind) of labels in turn, on the same sparse points: energies, forces and stress."""
    names = [f"{name}_epistemic_std" for name in ("energy", "energies", "forces", "stress")]
    wants = [{"energy_std", "energies_std", "forces_std"} | ({"stress_std"} if a.pbc.all() else set()) for a in others]
    before = [model.predict(atoms, want) for atoms, want in zip(others, wants, strict=True)]
    for part in model.training_["errors"]:
        noise = clone(model.state_.noise)
        groups = {group: dict(settings) for group, settings in (noise.groups or {}).items()}
        groups.setdefault(part["group"], {})[part["kind"]] = None
        less = _refitted(model, noise.set_params(groups=groups))
        for atoms, want, p in zip(others, wants, before, strict=True):
            q = less.predict(atoms, want)
            for name in names:
                if getattr(p, name) is not None:
                    fallen = np.any(getattr(q, name) < getattr(p, name) * (1 - ALGEBRA))
                    require(not fallen, f"{name} fell without {part['kind']} of {part['group']}")


def infinite_noise_gives_baseline(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Law 15: labels of infinite σ teach nothing; what remains is e0 and the baselines."""
    ignorant = _refitted(model, _scaled(model.state_.noise, _INFINITE))
    for atoms in others:
        p = ignorant.predict(atoms, {"energy", "forces"})
        known = [b.evaluate(to_frame(atoms, labels=False), {"forces"}) for b in model.state_.baselines]
        e0 = sum(model.e0_[int(z)] for z in atoms.numbers)
        near(p.energy, e0 + sum(b.energies_e.sum() for b in known), ALGEBRA, "infinite noise leaves more than e0")
        forces_ec = sum((there(b.forces_ec) for b in known), np.zeros_like(p.forces))
        near(p.forces, forces_ec, ALGEBRA, "infinite noise leaves forces")


def refit_is_fit(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Law 16: a solve from the stored factors is a fit with that noise."""
    noise = _scaled(model.state_.noise, 3.0)
    fresh = clone(model).set_params(noise=noise).fit(frames, rng=0)
    again = _refitted(model, noise)
    same_evidence(again, fresh, "refit has another evidence than fit")
    for atoms in others:
        alike(again.predict(atoms, _all(atoms)), fresh.predict(atoms, _all(atoms)), "refit is not fit")
    same_evidence(_refitted(again, model.state_.noise), model, "refit cannot be undone")


def workers_change_nothing(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Law 17: one worker or two."""
    two = clone(model).set_params(n_jobs=2).fit(frames, rng=0)
    same_evidence(two, model, "workers change the evidence")
    together = two.predict(others, {"energy", "energies", "forces", "energy_std", "energies_std"})
    for atoms, p in zip(others, together, strict=True):
        alike(p, model.predict(atoms, _all(atoms) - {"stress"}), "workers change a prediction")


def file_keeps_everything(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Law 19: what comes back from a file predicts bit for bit the same; the bytes are the same each time."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.gap", Path(folder) / "second.gap"
        model.save(first, data=True)
        loaded = load(first)
        loaded.save(second, data=True)
        require(first.read_bytes() == second.read_bytes(), "the file of a loaded model is another")
    for atoms in others:
        alike(loaded.predict(atoms, _all(atoms)), model.predict(atoms, _all(atoms)), "the file changes a prediction", 0)


def settings_survive_a_clone(model: GAP, frames: Sequence[Atoms], others: Sequence[Atoms]) -> None:
    """Fitting again from the same settings and seed gives the same model."""
    again = clone(model).fit(frames, rng=0)
    for atoms in others:
        alike(again.predict(atoms, _all(atoms)), model.predict(atoms, _all(atoms)), "a second fit is another", 0)


GAP_LAWS: Final[tuple[GAPLaw, ...]] = (
    isolated_atom_has_e0,
    removing_data_never_lowers_variance,
    infinite_noise_gives_baseline,
    refit_is_fit,
    workers_change_nothing,
    file_keeps_everything,
    settings_survive_a_clone,
)
"""The laws of section 6 about a fit as a whole."""


def alike(one: Prediction, other: Prediction, what: str, tolerance: float = ALGEBRA) -> None:
    """AssertionError unless two predictions agree in all they hold; tolerance 0 asks for the same bits."""
    for name in EVERYTHING:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None:
            require(a is b, f"{what}: only one has {name}")
        else:
            near(a, b, tolerance, f"{what}: {name}")


def same_evidence(one: GAP, other: GAP, what: str) -> None:
    """AssertionError unless the log evidences agree; they are sums of a term of order one for each label."""
    n_rows = sum(part["rows"] for part in other.training_["errors"])
    near(one.log_evidence_, other.log_evidence_, ALGEBRA, what, floor=n_rows)


def _all(atoms: Atoms) -> set[str]:
    return wanted(atoms) | {"energy_std", "energies_std"}


def _refitted(model: GAP, noise: Noise) -> GAP:
    """A copy that shares the state, solved again with other noise."""
    return copy.copy(model).refit(noise)


def _scaled(noise: Noise, factor: float) -> Noise:
    """All σ times a factor."""

    def times(items: Iterable[tuple[str, float | None]]) -> dict[str, float | None]:
        return {kind: None if sigma is None else factor * sigma for kind, sigma in items}

    groups = None if noise.groups is None else {g: times(s.items()) for g, s in noise.groups.items()}
    return Noise(**times((kind, getattr(noise, kind)) for kind in KINDS), groups=groups)
