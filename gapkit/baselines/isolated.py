"""Energies of isolated atoms, e0: the baseline that every model has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.atoms.alone import FAR as FAR
from gapkit.atoms.alone import ISOLATED_GROUP as ISOLATED_GROUP
from gapkit.atoms.alone import is_isolated as is_isolated
from gapkit.atoms.frame import Frame
from gapkit.errors import ConfigError, SpeciesError, nearest, warn
from gapkit.typing import FloatArray, IntArray

_SAME_ENERGY: Final = 1e-6  # eV; several single-atom frames of an element may agree to this without a warning
_FIX: Final = f"Fix: add a frame with a single atom of each (config_type {ISOLATED_GROUP}), or give its energy in e0."


def isolated_energies(frames: Sequence[Frame], given: Mapping[str | int, float] | None = None) -> dict[int, float]:
    """Energy of an isolated atom of every element in `frames` (and in `given`), eV by atomic number.

    For each element the first of these that exists: the value given; the energy of a frame that `is_isolated`
    (the lowest of several, with a warning if they differ); least squares of the remaining energies against
    composition, with a warning, each frame with weight 1/√N. Compositions that cannot tell elements apart get the
    solution of minimum norm, and an element in no frame with an energy gets 0; the warning says so.

    Parameters
    ----------
    frames
        Training frames; those without an energy count only for their elements.
    given
        Energies in eV by symbol or atomic number.

    Raises
    ------
    SpeciesError
        `given` names something that is not an element.
    ConfigError
        An energy in `given` is not a finite number, or an element is given twice.
    """
    e0 = _read_given(given or {})
    elements = {int(number) for frame in frames for number in np.unique(frame.numbers_e)}
    for number, energies in _single_atom_energies(frames).items():
        if number in e0:
            continue
        e0[number] = min(energies)
        if max(energies) - min(energies) > _SAME_ENERGY:
            listed = ", ".join(f"{energy:.6f}" for energy in sorted(energies))
            what = f"Isolated {chemical_symbols[number]} atoms differ in energy ({listed} eV): the lowest is used."
            warn(f"{what} Fix: keep one frame of them, or give the energy in e0.")
    missing = sorted(elements - e0.keys())
    if missing:
        fitted, remark = _least_squares(frames, e0, missing)
        e0 |= fitted
        warn(f"{remark} {_FIX}")
    return dict(sorted(e0.items()))


def not_isolated(frames: Iterable[Frame], given: Mapping[str | int, float] | None = None) -> set[int]:
    """Elements whose e0 `isolated_energies` takes from least squares: neither given, nor alone in a frame."""
    alone = {int(f.numbers_e[0]) for f in frames if f.energy is not None and is_isolated(f)}
    return {int(z) for f in frames for z in np.unique(f.numbers_e)} - alone - _read_given(given or {}).keys()


def reference_energy(numbers_e: IntArray, e0: Mapping[int, float], where: str = "") -> float:
    """Sum of e0 over the atoms, eV; `numbers_e` (N,) atomic numbers. SpeciesError for an element without e0."""
    numbers, counts = np.unique(numbers_e, return_counts=True)
    missing = [int(number) for number in numbers if int(number) not in e0]
    if missing:
        spot = f"first at atom {np.flatnonzero(np.isin(numbers_e, missing))[0]}"
        what = f"Species not covered. The model knows {_symbols(e0)}; the structure has {_symbols(missing)}"
        fix = f"add frames with {_symbols(missing)} (GAP.extend, gapkit extend) or fit anew, or remove those atoms"
        raise SpeciesError(what, where=f"{where}, {spot}" if where else spot, fix=fix)
    return float(sum(int(count) * e0[int(number)] for number, count in zip(numbers, counts, strict=True)))


def _read_given(given: Mapping[str | int, float]) -> dict[int, float]:
    e0: dict[int, float] = {}
    for key, energy in given.items():
        number = atomic_numbers.get(key, 0) if isinstance(key, str) else int(key)
        if not 0 < number < len(chemical_symbols):
            symbols = chemical_symbols[1:]
            raise SpeciesError(f"e0 names {key!r}, which is not an element", fix=nearest(str(key), symbols))
        if number in e0:
            raise ConfigError(f"e0 of {chemical_symbols[number]} is given twice", fix="give it once, by symbol")
        try:
            e0[number] = float(energy)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"e0 of {key!r} is {energy!r}, not a number", fix="give it in eV") from error
        if not np.isfinite(e0[number]):
            raise ConfigError(f"e0 of {key!r} is {energy!r}, not a finite number", fix="give it in eV")
    return e0


def _single_atom_energies(frames: Sequence[Frame]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for frame in frames:
        if frame.energy is not None and is_isolated(frame):
            found.setdefault(int(frame.numbers_e[0]), []).append(frame.energy)
    return found


def _least_squares(
    frames: Sequence[Frame], known: Mapping[int, float], missing: Sequence[int]
) -> tuple[dict[int, float], str]:
    """e0 of the missing elements, and what the user should know about them."""
    rows: list[FloatArray] = []
    targets: list[float] = []
    for frame in frames:
        counts_z = np.bincount(frame.numbers_e, minlength=len(chemical_symbols))
        if frame.energy is not None and counts_z[missing].any():
            rest = frame.energy - sum(int(counts_z[number]) * energy for number, energy in known.items())
            rows.append(counts_z[missing] / np.sqrt(frame.n_atoms))
            targets.append(rest / np.sqrt(frame.n_atoms))
    if not rows:
        return dict.fromkeys(missing, 0.0), f"No energy tells e0 of {_symbols(missing)}: 0 is used."
    matrix = np.array(rows)
    values, _, rank, _ = np.linalg.lstsq(matrix, np.array(targets), rcond=None)
    fitted = [number for number, column in zip(missing, matrix.T, strict=True) if column.any()]
    unseen = [number for number in missing if number not in fitted]
    remark = f"e0 of {_symbols(fitted)} comes from least squares over {len(rows)} frames:"
    remark += " dissociation energies will be meaningless."
    if rank < len(fitted):
        remark += " The compositions do not tell these elements apart, so the solution of minimum norm is used."
    if unseen:
        remark += f" No energy tells e0 of {_symbols(unseen)}: 0 is used."
    return {number: float(value) for number, value in zip(missing, values, strict=True)}, remark


def _symbols(atomic: Mapping[int, float] | Sequence[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in sorted(atomic))
