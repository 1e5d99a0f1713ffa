"""Under which names labels are stored in `ase.Atoms`, and how each is brought to one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import compare_atoms

from gapkit.errors import ConfigError, DataError, nearest
from gapkit.typing import FloatArray
from gapkit.units import from_voigt, to_voigt

Named: TypeAlias = list[tuple[str, Any]]
"""Values found for one label, with the name each was stored under; the preferred one first."""

_PREFIXES: Final = ("ref_", "dft_")
_PLAIN: Final = {
    "energy": ("energy",),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
}
_PER_ATOM: Final = frozenset({"forces", "force_atom_sigma", "force_mask", "charges"})


@dataclass(frozen=True)
class Keys:
    """Names of the labels in ``atoms.info`` and ``atoms.arrays``.

    A label that is None is looked up, ignoring case, as ``REF_energy``, ``dft_energy``, in the calculator's stored
    results, then as ``energy``; forces also as ``force``, stress also as ``virial``. A name that you give is the only
    one that is looked up (in info or arrays, then in the calculator, where ASE's reader of extended XYZ puts
    ``energy``, ``forces`` and ``stress``), and it must occur in at least one frame.

    Attributes
    ----------
    energy : eV, total.
    forces : (N, 3) eV/Å.
    stress : (3, 3), (9,) or (6,) in Voigt order xx yy zz yz xz xy, eV/Å³, tension positive (ASE).
    virial : (3, 3) or (9,), eV, virial = -V · stress (QUIP).
    group : name of the configuration type; frames without it belong to "default".
    energy_sigma, force_sigma, virial_sigma : per-frame σ, eV, eV/Å, eV; they replace those of `Noise`.
    force_atom_sigma : (N,) per-atom σ of the force components, eV/Å.
    force_mask : (N,) logical; as in gap_fit True *leaves out* the forces on the atom.
    charges : (N,) e, charges of the atoms for `Coulomb("initial_charges")`; a part of the structure, and no label.
    sigma_per_atom : unit of energy_sigma and virial_sigma.

    Notes
    -----
    Names and meaning are those of gap_fit: default σ and those of a config_type are per atom and multiplied by √N,
    but energy_sigma and virial_sigma of a single frame are absolute (eV, not scaled). ``Keys(sigma_per_atom=True)``
    reads these two per atom as well. σ of forces is never scaled.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    group: str = "config_type"
    energy_sigma: str = "energy_sigma"
    force_sigma: str = "force_sigma"
    virial_sigma: str = "virial_sigma"
    force_atom_sigma: str = "force_atom_sigma"
    force_mask: str = "force_mask"
    charges: str = "initial_charges"
    sigma_per_atom: bool = False

    def __post_init__(self) -> None:
        for name, key in self._names().items():
            if not (isinstance(key, str) and key) and not (key is None and name in _PLAIN):
                raise ConfigError(f"Keys({name}={key!r}) is not a name", fix=f"give {name} as a non-empty string")

    def _names(self) -> dict[str, str | None]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sigma_per_atom"}

    def require(self, structures: Iterable[Atoms], where: str = "") -> None:
        """Raise DataError for a name that the user gave and no structure has."""
        standard = {f.name: f.default for f in fields(self)}
        wanted = {name: key for name, key in self._names().items() if key is not None and key != standard[name]}
        known: dict[str, set[str]] = {name: set() for name in wanted}
        for atoms in structures if wanted else ():
            results = stored_results(atoms)[0]
            for name in wanted:
                known[name] |= {str(key) for key in (*_shelf(atoms, name), *(results if name in _PLAIN else ()))}
                known[name] -= {"numbers", "positions"}
        for name, key in wanted.items():
            if key not in known[name]:
                place = "atoms.arrays" if name in _PER_ATOM else "atoms.info"
                place += " or its calculator" if name in _PLAIN else ""
                fix = nearest(key, known[name]) if known[name] else "store the label first, the frames have none"
                what = f"No frame has '{key}', given as Keys({name}=...), in {place}"
                raise DataError(what, where=where, fix=fix)

    def find(self, atoms: Atoms, results: Mapping[str, Any], label: str) -> Named:
        """Values of "energy", "forces", "stress" or "virial" in `atoms` and `results`, the preferred one first."""
        shelf, key = _shelf(atoms, label), getattr(self, label)
        if key is not None:
            found = [(key, shelf.get(key)), (f"calculator's {key}", results.get(key))]
        elif label in ("stress", "virial") and (self.stress or self.virial):
            found = []  # the user named the other form of the same label
        else:
            plain = _PLAIN[label]
            found = _named(shelf, [prefix + name for prefix in _PREFIXES for name in plain])
            found.append((f"calculator's {label}", results.get(label)))
            found += _named(shelf, plain)
        return [(name, value) for name, value in found if value is not None]

    def find_extra(self, atoms: Atoms, label: str) -> Any:
        """Value of the group, a σ, the mask or the charges; None if the frame has none."""
        return _shelf(atoms, label).get(getattr(self, label))


def stored_results(atoms: Atoms) -> tuple[Mapping[str, Any], bool]:
    """Results that the calculator holds for exactly this structure, and whether others were ignored as outdated.

    Nothing is ever computed: a live calculator that has not run yet has no results.
    """
    calculator = atoms.calc
    results: Mapping[str, Any] = getattr(calculator, "results", None) or {}
    computed_for = getattr(calculator, "atoms", None)
    if not results or computed_for is None:
        return results, False
    ignored = {"initial_charges", "initial_magmoms"}
    changed = compare_atoms(computed_for, atoms, 1e-10, ignored)
    return ({}, True) if changed else (results, False)


def to_number(name: str, value: Any, where: str) -> float:
    """`value` as one float, or DataError."""
    array = _floats(name, value, where)
    if array.size != 1:
        raise DataError(f"'{name}' has {array.size} values", where=where, fix=f"store one number as '{name}'")
    return float(array.reshape(()))


def to_forces(name: str, value: Any, atoms: Atoms, where: str) -> FloatArray:
    """`value` as forces of shape (N, 3), or DataError."""
    array = _floats(name, value, where)
    if array.shape != (len(atoms), 3):
        what = f"'{name}' has shape {array.shape} for {len(atoms)} atoms"
        raise DataError(what, where=where, fix=f"store '{name}' as an array of shape ({len(atoms)}, 3)")
    return array


def to_stress(name: str, value: Any, where: str) -> tuple[FloatArray, bool]:
    """Six Voigt components of a stored stress, and whether the tensor was symmetric."""
    array = _floats(name, value, where)
    if array.shape == (6,):
        return array, True
    tensor = _tensor(name, array, where, "a (3, 3) tensor, 9 numbers or 6 Voigt components xx yy zz yz xz xy")
    return to_voigt(tensor), _symmetric(tensor)


def virial_to_stress(name: str, value: Any, cell_cc: FloatArray, where: str) -> tuple[FloatArray, bool]:
    """Six Voigt components of stress = -virial / V, and whether the tensor was symmetric."""
    need = "a (3, 3) tensor or 9 numbers, since the order of 6 is not agreed upon"
    tensor = _tensor(name, _floats(name, value, where), where, need)
    with np.errstate(all="ignore"):  # a cell without volume, or with NaN, is refused by Frame
        return -to_voigt(tensor) / abs(np.linalg.det(cell_cc)), _symmetric(tensor)


def _symmetric(tensor_cc: FloatArray) -> bool:
    with np.errstate(invalid="ignore"):  # infinite entries are refused by Frame
        skew = tensor_cc - from_voigt(to_voigt(tensor_cc))
    return bool(np.abs(skew).max() <= 1e-3 * np.abs(tensor_cc).max())


def _tensor(name: str, array: FloatArray, where: str, need: str) -> FloatArray:
    if array.shape not in ((3, 3), (9,)):
        raise DataError(f"'{name}' has shape {array.shape}", where=where, fix=f"store '{name}' as {need}")
    return array.reshape(3, 3)


def _floats(name: str, value: Any, where: str) -> FloatArray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"'{name}' is not numeric ({error})", where=where, fix=f"store '{name}' as numbers") from error


def _shelf(atoms: Atoms, label: str) -> dict[str, Any]:
    shelf: dict[str, Any] = atoms.arrays if label in _PER_ATOM else atoms.info
    return shelf


def _named(shelf: Mapping[str, Any], names: Iterable[str]) -> Named:
    return [(key, value) for name in names for key, value in shelf.items() if str(key).lower() == name]
