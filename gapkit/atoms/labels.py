"""From `ase.Atoms` to `Frame`: labels are found, compared, converted and checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from ase import Atoms

from gapkit.atoms.files import read_frames
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys, Named, stored_results, to_forces, to_number, to_stress, virial_to_stress
from gapkit.errors import DataError, warn
from gapkit.typing import BoolArray, Kind

__all__ = ["USUAL_KEYS", "Keys", "read_frames", "to_frame", "to_frames"]

USUAL_KEYS: Final = Keys()
"""The names that are looked up when the user gives none."""

_SIGMA_KEYS: Final[dict[Kind, str]] = {"energy": "energy_sigma", "forces": "force_sigma", "stress": "virial_sigma"}
_UNSUPPORTED: Final = ("force_component_sigma", "virial_component_sigma")
_Notes = dict[str, list[str]]  # what happened -> in which frames; one warning each

log = logging.getLogger(__name__)


def to_frame(atoms: Atoms, *, keys: Keys = USUAL_KEYS, where: str = "", labels: bool = True) -> Frame:
    """One structure and its labels as a Frame. `atoms` is not changed and nothing is computed.

    Parameters
    ----------
    atoms
        Any structure; its calculator is read only for results that it already holds for these positions.
    keys
        Names of the labels. See `Keys` for units, signs and what σ means.
    where
        File and frame, for messages.
    labels
        False skips all labels, for prediction; the structure itself, with its charges, is always read and checked.

    Raises
    ------
    DataError, SpeciesError
        What `Frame` refuses, labels that cannot be read, and given keys that the structure does not have.
    """
    _check_is_atoms(atoms, where)
    if labels:
        keys.require([atoms], where)
    notes: _Notes = {}
    frame = _read(atoms, keys, where, labels, notes)
    _warn(notes)
    return frame


def to_frames(
    atoms_list: Iterable[Atoms] | Iterable[Frame],
    *,
    keys: Keys = USUAL_KEYS,
    where: str | Sequence[str] = "",
    labels: bool = True,
    require_labels: bool = False,
) -> list[Frame]:
    """Frames of many structures. Frames and atoms count from 0 in messages, as in ASE.

    Parameters as in `to_frame`; `where` names the file, and "train.xyz, frame 12" is stored in each Frame. For
    structures of several files it is a list, the place of each. A list of `Frame` is taken as it is.
    With `require_labels` a list in which no frame has any label is refused.

    Raises
    ------
    DataError, SpeciesError
        As `to_frame`, and for an empty list; a key that the user gave may be missing in some frames, not in all.
    """
    if isinstance(atoms_list, Atoms):
        raise DataError("One Atoms object was given instead of a list", fix="pass [atoms]")
    if not isinstance(atoms_list, Iterable) or isinstance(atoms_list, (str, bytes)):
        what = f"Structures are needed, not {type(atoms_list).__name__}"
        raise DataError(what, fix="give a list of ase.Atoms, for instance from gapkit.read_frames(path)")
    structures: list[Any] = list(atoms_list)
    if isinstance(where, str):
        places = [", ".join(filter(None, [where, f"frame {index}"])) for index in range(len(structures))]
    else:
        where, places = "", list(where)
    if not structures:
        raise DataError("There are no structures", where=where, fix="give at least one frame")
    ready = [structure for structure in structures if isinstance(structure, Frame)]
    if len(ready) == len(structures):
        _require_labels(ready, (), where, require_labels)
        return ready
    for atoms, place in zip(structures, places, strict=True):
        _check_is_atoms(atoms, place)
    if labels:
        keys.require(structures, where)
    notes: _Notes = {}
    frames = [_read(atoms, keys, place, labels, notes) for atoms, place in zip(structures, places, strict=True)]
    _warn(notes)
    n_sigma = sum("energy" in frame.sigma or "stress" in frame.sigma for frame in frames)
    if n_sigma:
        unit = "per atom" if keys.sigma_per_atom else "absolute, as in gap_fit"
        log.info("%d frames bring their own energy or virial sigma, taken as %s", n_sigma, unit)
    _require_labels(frames, structures, where, require_labels)
    return frames


def _require_labels(frames: Sequence[Frame], structures: Sequence[Atoms], where: str, required: bool) -> None:
    if required and not any(frame.kinds for frame in frames):
        names = {str(key) for atoms in structures for key in (*atoms.info, *atoms.arrays)} - {"numbers", "positions"}
        fix = f"name them with Keys(energy=..., forces=...); the frames have {', '.join(sorted(names)) or 'nothing'}"
        raise DataError("No frame has an energy, forces or a stress", where=where, fix=fix)


def _check_is_atoms(atoms: object, where: str) -> None:
    if not isinstance(atoms, Atoms):
        what = f"Not a structure but {type(atoms).__name__}"
        raise DataError(what, where=where, fix="give ase.Atoms, for instance from ase.io.read(path, ':')")


def _read(atoms: Atoms, keys: Keys, where: str, labels: bool, notes: _Notes) -> Frame:
    structure: dict[str, Any] = {
        "numbers_e": atoms.numbers,
        "positions_ec": atoms.positions,
        "cell_cc": atoms.cell.array,
        "pbc_c": atoms.pbc,
        "charges_e": keys.find_extra(atoms, "charges"),
        "where": where,
    }
    if not labels:
        return Frame(**structure)
    results, outdated = stored_results(atoms)
    if outdated:
        _note(notes, "The calculator's results belong to other positions or another cell and were ignored", where)
    for name in _UNSUPPORTED:
        if name in atoms.info or name in atoms.arrays:
            _note(notes, f"'{name}' is not supported and was ignored", where)
    energies: Named = [(key, to_number(key, value, where)) for key, value in keys.find(atoms, results, "energy")]
    forces: Named = [(key, to_forces(key, value, atoms, where)) for key, value in keys.find(atoms, results, "forces")]
    group = keys.find_extra(atoms, "group")
    return Frame(
        **structure,
        energy=_pick("energy", energies, where, notes),
        forces_ec=_pick("forces", forces, where, notes),
        stress_v=_pick("stress", _stresses(atoms, keys, results, where, notes), where, notes),
        group="default" if group is None else str(group),
        force_mask_e=_mask(atoms, keys, where),
        sigma=_sigma(atoms, keys, where),
        force_sigma_e=keys.find_extra(atoms, "force_atom_sigma"),
    )


def _stresses(atoms: Atoms, keys: Keys, results: Mapping[str, Any], where: str, notes: _Notes) -> Named:
    """Voigt stresses from all stress and virial labels, prefixed names first."""
    found = [(name, *to_stress(name, value, where)) for name, value in keys.find(atoms, results, "stress")]
    for name, value in keys.find(atoms, results, "virial"):
        found.append((name, *virial_to_stress(name, value, atoms.cell.array, where)))
    for name, _, symmetric in found:
        if not symmetric:
            _note(notes, f"'{name}' is not symmetric, its symmetric part is used", where)
    ranked = sorted(found, key=lambda item: not item[0].lower().startswith(("ref_", "dft_")))
    return [(name, stress_v) for name, stress_v, _ in ranked]


def _pick(kind: Kind, found: Named, where: str, notes: _Notes) -> Any:
    """The preferred value; a note if another one differs from it."""
    if not found:
        return None
    name, value = found[0]
    scale = np.abs(value).max()
    for other, rival in found[1:]:
        if not np.allclose(rival, value, rtol=0, atol=1e-6 * scale + 1e-9):
            _note(notes, f"'{name}' and '{other}' differ: '{name}' is the {kind}; name the right one in Keys", where)
    return value


def _sigma(atoms: Atoms, keys: Keys, where: str) -> dict[Kind, float]:
    sigma: dict[Kind, float] = {}
    for kind, key in _SIGMA_KEYS.items():
        value = keys.find_extra(atoms, key)
        if value is None:
            continue
        absolute = kind != "forces" and not keys.sigma_per_atom
        sigma[kind] = to_number(getattr(keys, key), value, where) / (len(atoms) ** 0.5 if absolute else 1.0)
    return sigma


def _mask(atoms: Atoms, keys: Keys, where: str) -> BoolArray | None:
    """Which forces to use: the opposite of gap_fit's mask, which names those to leave out."""
    value = keys.find_extra(atoms, "force_mask")
    if value is None:
        return None
    array = np.asarray(value)
    if not np.isin(array, (0, 1)).all():
        fix = "store True for atoms to leave out and False for the others"
        raise DataError(f"'{keys.force_mask}' is not logical", where=where, fix=fix)
    return ~array.astype(np.bool_)


def _note(notes: _Notes, what: str, where: str) -> None:
    notes.setdefault(what, []).append(where)


def _warn(notes: _Notes) -> None:
    for what, places in notes.items():
        more = f" and {len(places) - 1} more frames" if len(places) > 1 else ""
        place = f" ({places[0]}{more})" if places[0] else ""
        warn(f"{what}{place}.")
