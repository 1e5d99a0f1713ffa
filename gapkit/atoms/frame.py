"""One labelled structure as read-only arrays, checked once when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import complete_cell

from gapkit.errors import DataError, SpeciesError
from gapkit.typing import KINDS, BoolArray, FloatArray, IntArray, Kind

COINCIDENT: Final = 0.01
"""Two atoms closer than this (Å), periodic images included, are taken to be one atom written twice."""

_THIN: Final = 2 * COINCIDENT  # below it the minimum-image rounding of `_coincident_pair` is not safe
_FIX_LABEL: Final = "correct this label or delete it from the frame"


@dataclass(frozen=True, eq=False)
class Frame:
    """What the pipeline sees of one structure. Arrays are private copies and cannot be written to.

    Attributes
    ----------
    numbers_e : (N,) atomic numbers, 1 to 118.
    positions_ec : (N, 3) Å.
    cell_cc : (3, 3) Å, one lattice vector per row; rows of non-periodic directions are as given.
    pbc_c : (3,) which directions are periodic.
    energy : eV, total; None without the label, as for the next two.
    forces_ec : (N, 3) eV/Å.
    stress_v : (6,) eV/Å³, sign and order of ASE (tension positive, xx yy zz yz xz xy).
    group : the config_type, which selects σ in `Noise`.
    force_mask_e : (N,) True = use this atom's forces; None = use all.
    sigma : kind -> σ that replaces the one of `Noise`, in its units: energy eV and stress (virial) eV, both per
        atom and multiplied by √N when used; forces eV/Å, never scaled.
    force_sigma_e : (N,) eV/Å, σ of each atom's force components; wins over ``sigma["forces"]``.
    charges_e : (N,) e, charges that the structure brings for electrostatics; None without.
    where : file and frame, for messages.

    Raises
    ------
    DataError
        No atoms; wrong shapes; NaN or infinite numbers; lattice vectors of periodic directions that span no
        volume; two atoms within 0.01 Å; a stress without three periodic directions; σ ≤ 0.
    SpeciesError
        An atomic number outside 1 to 118 (0 is the dummy species X).
    """

    numbers_e: IntArray
    positions_ec: FloatArray
    cell_cc: FloatArray
    pbc_c: BoolArray
    energy: float | None = None
    forces_ec: FloatArray | None = None
    stress_v: FloatArray | None = None
    group: str = "default"
    force_mask_e: BoolArray | None = None
    sigma: Mapping[Kind, float] = field(default_factory=dict)
    force_sigma_e: FloatArray | None = None
    charges_e: FloatArray | None = None
    where: str = ""

    def __post_init__(self) -> None:
        n_atoms = np.size(self.numbers_e)
        if n_atoms == 0:
            raise DataError("The structure has no atoms", where=self.where, fix="remove the empty frame")
        fix = "correct the structure or remove the frame"
        self._own("numbers_e", (n_atoms,), fix, np.int64)
        self._check_species()
        self._own("positions_ec", (n_atoms, 3), fix)
        self._own("cell_cc", (3, 3), fix)
        self._own("pbc_c", (3,), fix, np.bool_)
        self._own("charges_e", (n_atoms,), fix)
        self._check_cell()
        self._check_distances()
        self._check_labels()

    @property
    def n_atoms(self) -> int:
        """Number of atoms N."""
        return len(self.numbers_e)

    @property
    def volume(self) -> float:
        """Volume of the cell in Å³; a property of the material only when all directions are periodic."""
        return float(abs(np.linalg.det(self.cell_cc)))

    @property
    def all_forces_ec(self) -> FloatArray | None:
        """The forces, shape (N, 3), eV/Å; None also where a mask leaves out some, which may be missing."""
        return self.forces_ec if self.force_mask_e is None or self.force_mask_e.all() else None

    @property
    def box_cc(self) -> FloatArray:
        """The cell, with unit vectors across the others in directions that are not periodic; shape (3, 3), Å."""
        return np.asarray(complete_cell(np.where(self.pbc_c[:, None], self.cell_cc, 0.0)), dtype=float)

    @property
    def hash(self) -> int:
        """64 bits of the structure and its labels, by which a model knows its training frames again."""
        digest = hashlib.sha256()
        labels = np.array([]) if self.energy is None else np.array([self.energy])
        structure = (self.numbers_e, self.positions_ec, self.cell_cc, self.pbc_c)
        for array in (*structure, labels, self.forces_ec, self.charges_e):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return int.from_bytes(digest.digest()[:8], "big")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of label that this frame carries."""
        have: dict[Kind, object] = {"energy": self.energy, "forces": self.forces_ec, "stress": self.stress_v}
        return tuple(kind for kind in KINDS if have[kind] is not None)

    def _own(self, name: str, shape: tuple[int, ...], fix: str, dtype: Any = np.float64) -> None:
        """Replace the field by a checked, read-only copy of it."""
        given, label = getattr(self, name), name.rsplit("_", 1)[0].replace("_", " ")
        if given is None:
            return
        try:
            array = np.array(given, dtype=dtype, order="C")
        except (TypeError, ValueError) as error:
            raise DataError(f"The {label} cannot be read as numbers ({error})", where=self.where, fix=fix) from error
        if array.shape != shape:
            message = f"The {label} array has shape {array.shape} where {shape} is needed"
            raise DataError(message, where=self.where, fix=fix)
        if not np.all(np.isfinite(array)):
            bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            where = self._at(bad) if name.endswith(("_e", "_ec")) else self.where
            raise DataError(f"The {label} array has NaN or infinite entries", where=where, fix=fix)
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def _at(self, atoms: IntArray) -> str:
        """`where` with the atoms in question, four at most by name."""
        names = [f"{i} ({chemical_symbols[self.numbers_e[i]]})" for i in atoms[:4]]
        more = f" and {len(atoms) - 4} more" if len(atoms) > 4 else ""
        spot = f"atom{'s' if len(atoms) > 1 else ''} {', '.join(names)}{more}"
        return f"{self.where}, {spot}" if self.where else spot

    def _check_species(self) -> None:
        bad = np.flatnonzero((self.numbers_e < 1) | (self.numbers_e >= len(chemical_symbols)))
        if len(bad):
            number = int(self.numbers_e[bad[0]])
            what = "The dummy species X (atomic number 0)" if number == 0 else f"Atomic number {number}"
            spot = ", ".join(filter(None, [self.where, f"atom {bad[0]}"]))
            raise SpeciesError(f"{what} is not an element", where=spot, fix="name the element or remove the atom")

    def _check_cell(self) -> None:
        periodic = self.cell_cc[self.pbc_c]
        if len(periodic) and np.linalg.svd(periodic, compute_uv=False)[-1] < _THIN:
            partly = "The lattice vectors of the periodic directions vanish or are parallel"
            what = "The cell has zero volume, but is periodic" if len(periodic) == 3 else partly
            fix = "set the cell with atoms.set_cell, or atoms.pbc = False for a molecule"
            raise DataError(what, where=self.where, fix=fix)

    def _check_distances(self) -> None:
        pair = _coincident_pair(self.positions_ec, self.cell_cc[self.pbc_c])
        if pair is not None:
            what = f"Two atoms are on one spot (closer than {COINCIDENT} Å, periodic images included)"
            raise DataError(what, where=self._at(np.array(pair)), fix="remove one of them, or correct cell and pbc")

    def _without_masked(self) -> None:
        """Forces that are missing (NaN) where the mask leaves them out become 0; see `all_forces_ec`."""
        if self.forces_ec is None or self.force_mask_e is None or np.shape(self.force_mask_e) != (self.n_atoms,):
            return
        if np.shape(self.forces_ec) == (self.n_atoms, 3) and np.asarray(self.forces_ec).dtype.kind == "f":
            missing = ~np.isfinite(self.forces_ec) & ~np.asarray(self.force_mask_e, dtype=bool)[:, None]
            object.__setattr__(self, "forces_ec", np.where(missing, 0.0, self.forces_ec))

    def _check_labels(self) -> None:
        if self.stress_v is not None and not self.pbc_c.all():
            fix = "delete the stress or virial of this frame, or set atoms.pbc = True if it is a crystal"
            what = "A stress needs three periodic directions, and this structure is a molecule, wire or slab"
            raise DataError(what, where=self.where, fix=fix)
        self._without_masked()
        object.__setattr__(self, "group", self.group or "default")  # the empty name is that of rows of isolated atoms
        for name, shape in {"forces_ec": (self.n_atoms, 3), "stress_v": (6,), "force_sigma_e": (self.n_atoms,)}.items():
            self._own(name, shape, _FIX_LABEL)
        self._own("force_mask_e", (self.n_atoms,), _FIX_LABEL, np.bool_)
        if self.energy is not None:
            if not np.isfinite(self.energy):
                raise DataError("The energy is NaN or infinite", where=self.where, fix=_FIX_LABEL)
            object.__setattr__(self, "energy", float(self.energy))
        for kind, sigma in self.sigma.items():
            if kind not in KINDS or not 0 < sigma < np.inf:
                what = f"The standard deviation {sigma!r} of {kind!r} is not a positive number"
                raise DataError(what, where=self.where, fix="give σ > 0 of energy, forces or stress")
        object.__setattr__(self, "sigma", {kind: float(sigma) for kind, sigma in self.sigma.items()})
        if self.force_sigma_e is not None and not (self.force_sigma_e > 0).all():
            where = self._at(np.flatnonzero(self.force_sigma_e <= 0))
            raise DataError("A standard deviation of a force is not positive", where=where, fix="give σ > 0")


def _coincident_pair(positions_ec: FloatArray, periodic_cc: FloatArray) -> tuple[int, int] | None:
    """First pair of atoms within COINCIDENT; `periodic_cc` holds the lattice vectors of periodic directions."""
    from scipy.spatial import cKDTree

    n_atoms, n_periodic = len(positions_ec), len(periodic_cc)
    if n_atoms == 1:
        return None
    free = np.linalg.svd(periodic_cc)[2][n_periodic:] if n_periodic else np.eye(3)
    box = np.concatenate([periodic_cc, free])
    scaled = positions_ec @ np.linalg.inv(box)
    wrapped = scaled[:, :n_periodic] % 1.0
    scaled[:, :n_periodic] = np.where(wrapped < 1.0, wrapped, 0.0)
    tree = cKDTree(scaled, boxsize=[1.0] * n_periodic + [0.0] * (3 - n_periodic))
    # |scaled| <= |r| / smallest singular value, so nothing closer than COINCIDENT is missed. Five candidates
    # are plenty: others come this near in scaled length only in a very skewed cell.
    reach = COINCIDENT / np.linalg.svd(box, compute_uv=False)[-1]
    _, near = tree.query(scaled, k=5, distance_upper_bound=reach)
    i, j = np.repeat(np.arange(n_atoms), 5), near.ravel()
    i, j = i[(j < n_atoms) & (j != i)], j[(j < n_atoms) & (j != i)]
    step = scaled[j] - scaled[i]
    step[:, :n_periodic] -= np.round(step[:, :n_periodic])
    found = np.flatnonzero(np.linalg.norm(step @ box, axis=1) < COINCIDENT)
    return (int(i[found[0]]), int(j[found[0]])) if len(found) else None
