"""Laws of whatever predicts energies: a fitted `GAP`, a random member of a prior, an ASE calculator.

Each law is a function (model, atoms) that raises AssertionError with what is broken and by how much. `MODEL_LAWS`
lists them with the kind of structure that each applies to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from ase import Atoms

from gapkit import Prediction
from gapkit.testing.continuity import nothing_jumps
from gapkit.testing.differences import agrees, rounding, slope
from gapkit.testing.law import Law, Model, derivative_accuracy, has_volume, is_cluster, there, wanted
from gapkit.testing.tolerances import ALGEBRA, EXACT, near, require
from gapkit.typing import FloatArray
from gapkit.units import from_voigt

_DIRECTIONS: Final = 2
_REPEATS: Final = 2
_STEP: Final = 0.01  # Å, or strain

_Change = Callable[[Atoms, FloatArray], Atoms]


def forces_are_slopes(model: Model, atoms: Atoms) -> None:
    """Law 1: F = -∂E/∂x, along random directions and for one atom alone."""
    rng = np.random.default_rng(1)
    forces_ec = there(model.predict(atoms, {"forces"}).forces)
    alone_ec = np.zeros_like(forces_ec)
    alone_ec[rng.integers(len(atoms)), rng.integers(3)] = 1.0
    ways = [*rng.normal(size=(_DIRECTIONS, *forces_ec.shape)), alone_ec]
    _are_slopes(model, atoms, -forces_ec, _moved, ways, "forces are not the slope of the energy")


def stress_is_strain_slope(model: Model, atoms: Atoms) -> None:
    """Law 2: stress = V⁻¹ ∂E/∂ε along random strains of nine components; their rotations must cost nothing."""
    rng = np.random.default_rng(2)
    virial_cc = atoms.get_volume() * from_voigt(there(model.predict(atoms, {"stress"}).stress))
    ways = [*rng.normal(size=(_DIRECTIONS, 3, 3)), np.outer(*np.eye(3)[rng.permutation(3)[:2]])]
    _are_slopes(model, atoms, virial_cc, _strained, ways, "stress is not the strain slope of the energy")


def stress_is_virial_sum(model: Model, atoms: Atoms) -> None:
    """Law 2: a cluster in a box that is too large to notice has V·stress = -Σ_e x_e ⊗ F_e."""
    box = atoms.copy()
    box.set_cell(np.diag(np.ptp(box.positions, axis=0) + model.reach + 1.0))
    box.pbc = True
    p = model.predict(box, {"forces", "stress"})
    virial = -box.positions.T @ there(p.forces)
    near(box.get_volume() * from_voigt(there(p.stress)), virial, ALGEBRA, "stress is not the virial sum")
    near(p.forces, model.predict(atoms, {"forces"}).forces, ALGEBRA, "forces in a large box are not those without it")


def no_net_force(model: Model, atoms: Atoms) -> None:
    """Law 3: ΣF = 0."""
    near(there(model.predict(atoms, {"forces"}).forces).sum(axis=0), np.zeros(3), ALGEBRA, "net force")


def no_net_torque(model: Model, atoms: Atoms) -> None:
    """Law 3: a cluster feels no torque."""
    forces_ec = there(model.predict(atoms, {"forces"}).forces)
    arm_ec = atoms.positions - atoms.positions.mean(axis=0)
    near(np.cross(arm_ec, forces_ec).sum(axis=0), np.zeros(3), ALGEBRA, "net torque")


def translation_changes_nothing(model: Model, atoms: Atoms) -> None:
    """Law 4, for a shift of all atoms, and for single atoms shifted by lattice vectors."""
    rng = np.random.default_rng(4)
    moved = _moved(atoms, np.broadcast_to(rng.normal(0.0, 3.0, 3), atoms.positions.shape))
    _same(model.predict(moved, wanted(atoms)), model.predict(atoms, wanted(atoms)), "translation")
    lattice = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc @ atoms.cell.array
    _same(model.predict(_moved(moved, lattice), wanted(atoms)), model.predict(atoms, wanted(atoms)), "lattice shift")


def rotation_turns_vectors(model: Model, atoms: Atoms) -> None:
    """Law 4: E stays, F and the stress turn along."""
    _turned(model, atoms, _rotation(4), "rotation")


def reflection_turns_vectors(model: Model, atoms: Atoms) -> None:
    """Law 4, for a rotation and inversion."""
    _turned(model, atoms, -_rotation(5), "reflection")


def permutation_changes_nothing(model: Model, atoms: Atoms) -> None:
    """Law 4: the order of atoms has no meaning."""
    order = np.random.default_rng(6).permutation(len(atoms))
    before, after = model.predict(atoms, wanted(atoms)), model.predict(atoms[order], wanted(atoms))
    near(after.energy, before.energy, ALGEBRA, "permutation changes the energy")
    near(after.energies, there(before.energies)[order], ALGEBRA, "permutation does not permute local energies")
    near(after.forces, there(before.forces)[order], ALGEBRA, "permutation does not permute forces")
    if has_volume(atoms):
        near(after.stress, before.stress, ALGEBRA, "permutation changes the stress")


def supercell_repeats(model: Model, atoms: Atoms) -> None:
    """Law 5: E(2x2x2) = 8 E, local energies and forces repeat, the stress is equal."""
    times = np.where(atoms.pbc, _REPEATS, 1)
    one, many = model.predict(atoms, wanted(atoms)), model.predict(atoms.repeat(times), wanted(atoms))
    n = int(times.prod())
    near(many.energy / n, one.energy, ALGEBRA, "the energy of a supercell is not that of its cells")
    near(many.energies, np.tile(there(one.energies), n), ALGEBRA, "local energies of a supercell do not repeat")
    near(many.forces, np.tile(there(one.forces), (n, 1)), ALGEBRA, "forces of a supercell do not repeat")
    if has_volume(atoms):
        near(many.stress, one.stress, ALGEBRA, "the stress of a supercell is another")


def distant_fragments_add(model: Model, atoms: Atoms) -> None:
    """Law 6: E(A + B) = E(A) + E(B) beyond the reach, and each keeps its forces."""
    other = atoms[: max(1, len(atoms) // 2)]
    far = other.copy()
    far.positions[:, 0] += np.ptp(atoms.positions[:, 0]) + model.reach + 1e-6
    far.positions[:, 1] += 0.3
    both, a, b = (model.predict(part, wanted(atoms)) for part in (atoms + far, atoms, other))
    near(both.energy, a.energy + b.energy, ALGEBRA, "distant fragments do not add")
    near(both.energies, np.concatenate([there(a.energies), there(b.energies)]), ALGEBRA, "distant atoms are felt")
    near(both.forces, np.concatenate([there(a.forces), there(b.forces)]), ALGEBRA, "distant fragments attract")


def terms_add_up(model: Model, atoms: Atoms) -> None:
    """Law 18: Σ by_term = Σ local energies = E."""
    p = model.predict(atoms, {"energy", "energies"})
    near(there(p.energies).sum(), p.energy, ALGEBRA, "local energies do not add up")
    near(sum(p.by_term.values()), p.energy, EXACT, "terms do not add up")


def structure_is_left_alone(model: Model, atoms: Atoms) -> None:
    """Prediction changes nothing in the structure."""
    before = atoms.copy()
    model.predict(atoms, wanted(atoms))
    require(before == atoms and set(before.arrays) == set(atoms.arrays), "the structure was changed")


MODEL_LAWS: Final = (
    Law(1, forces_are_slopes),
    Law(2, stress_is_strain_slope, has_volume),
    Law(2, stress_is_virial_sum, is_cluster),
    Law(3, no_net_force),
    Law(3, no_net_torque, is_cluster),
    Law(4, translation_changes_nothing),
    Law(4, rotation_turns_vectors),
    Law(4, reflection_turns_vectors),
    Law(4, permutation_changes_nothing),
    Law(5, supercell_repeats, lambda atoms: not is_cluster(atoms)),
    Law(6, distant_fragments_add, is_cluster),
    Law(7, nothing_jumps, lambda atoms: is_cluster(atoms) and len(atoms) <= 2),
    Law(18, terms_add_up),
    Law(0, structure_is_left_alone),
)
"""The laws of section 6 that hold for any model on any structure."""


def obeys(model: Model, atoms: Atoms) -> None:
    """Apply all laws that concern one structure; AssertionError at the first that is broken."""
    for law in MODEL_LAWS:
        law(model, atoms)


def _are_slopes(
    model: Model, atoms: Atoms, gradient_xc: FloatArray, change: _Change, ways: Sequence[FloatArray], what: str
) -> None:
    """AssertionError unless the gradient is that of the energy along each way of changing the structure."""

    def along(way_xc: FloatArray, h: float) -> float:
        return model.predict(change(atoms, h * way_xc), {"energy"}).energy

    noise = rounding(partial(along, ways[0]))
    for way_xc in ways:
        numeric = slope(partial(along, way_xc), _STEP / max(1.0, float(np.abs(way_xc).max())), noise)
        agrees(np.sum(gradient_xc * way_xc), numeric, what, derivative_accuracy(model))


def _moved(atoms: Atoms, by_ec: FloatArray) -> Atoms:
    moved = atoms.copy()
    moved.positions += by_ec
    return moved


def _strained(atoms: Atoms, strain_cc: FloatArray) -> Atoms:
    """x → x + ε x, so that dE/dε_ab = Σ_p (∂E/∂r_pa) r_pb."""
    strained = atoms.copy()
    deformation = np.eye(3) + strain_cc.T
    strained.set_cell(atoms.cell.array @ deformation, scale_atoms=False)
    strained.positions[:] = atoms.positions @ deformation
    return strained


def _same(after: Prediction, before: Prediction, what: str) -> None:
    near(after.energy, before.energy, ALGEBRA, f"{what} changes the energy")
    near(after.energies, before.energies, ALGEBRA, f"{what} changes local energies")
    near(after.forces, before.forces, ALGEBRA, f"{what} changes the forces")
    if before.stress is not None:
        near(after.stress, before.stress, ALGEBRA, f"{what} changes the stress")


def _rotation(seed: int) -> FloatArray:
    """A random rotation matrix, shape (3, 3)."""
    turn_cc, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return np.asarray(turn_cc * np.linalg.det(turn_cc))


def _turned(model: Model, atoms: Atoms, turn_cc: FloatArray, what: str) -> None:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn_cc.T, scale_atoms=False)
    turned.positions[:] = atoms.positions @ turn_cc.T
    before, after = model.predict(atoms, wanted(atoms)), model.predict(turned, wanted(atoms))
    near(after.energy, before.energy, ALGEBRA, f"{what} changes the energy")
    near(after.energies, before.energies, ALGEBRA, f"{what} changes local energies")
    near(after.forces, there(before.forces) @ turn_cc.T, ALGEBRA, f"{what} does not turn the forces")
    if before.stress is not None:
        expected = turn_cc @ from_voigt(before.stress) @ turn_cc.T
        near(from_voigt(there(after.stress)), expected, ALGEBRA, f"{what} does not turn the stress")
