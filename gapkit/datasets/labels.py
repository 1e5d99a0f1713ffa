"""Labels by name: misspelt, under names that nobody looks up, missing, masked."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from ase import Atoms

from gapkit import Keys
from gapkit.datasets.finding import Finding, Severity
from gapkit.datasets.table import Table
from gapkit.typing import KINDS, Kind

_PREFIX: Final = re.compile(r"^(ref|dft)_")
_LABELS: Final[dict[str, Kind]] = {
    "energy": "energy",
    "forces": "forces",
    "force": "forces",
    "stress": "stress",
    "virial": "stress",
    "virials": "stress",
}
_EXTRAS: Final = ("group", "energy_sigma", "force_sigma", "virial_sigma", "force_atom_sigma", "force_mask")
_USUAL: Final = frozenset(
    {
        *(
            "numbers",
            "positions",
            "tags",
            "momenta",
            "masses",
            "velocities",
            "velo",
            "vel",
            "step",
            "time",
            "id",
            "index",
        ),
        *("initial_magmoms", "magmoms", "magmom", "initial_charges", "charges", "charge", "dipole", "dipoles"),
        *("energies", "stresses", "local_energy", "local_energies", "stress_quality", "species"),
        *("description", "comment", "source", "name", "spacegroup", "unit_cell", "occupancy", "map_shift"),
    }
)
"""Names that mean something else, although some of them look like labels."""
_ALIKE: Final = 0.8  # of difflib: "enrgy", "forcess", "streses" pass, "energies" does not
_HINTS: Final[dict[Kind, re.Pattern[str]]] = {
    "energy": re.compile(r"energ|toten|etot|^(e|e0|u0|u)$|^e_|_e$", re.IGNORECASE),
    "forces": re.compile(r"forc|grad|^(f|frc)$|^f_|_f$", re.IGNORECASE),
    "stress": re.compile(r"stress|virial|pressure|^(s|sigma)$|^(s|sigma)_|_(s|sigma)$", re.IGNORECASE),
}
_MANY_GROUPS: Final = 40
_QUALITY: Final = re.compile(r"converged|quality|valid$|is_valid|status", re.IGNORECASE)
_GOOD: Final = frozenset({"ok", "true", "good", "1", "yes", "t", "valid", "converged", "done", "completed"})


def many_groups(table: Table) -> Iterator[Finding]:
    """Config_types that number frames instead of naming kinds of structures."""
    single = [which[0] for which in table.groups.values() if len(which) == 1]
    if len(table.groups) > _MANY_GROUPS and 2 * len(single) > len(table.groups):
        what = (
            f"There are {len(table.groups)} config_types, {len(single)} of them of one frame: a fit keeps the data of "
        )
        what += "each apart, which takes memory that sparse points could have, and errors are listed for each"
        fix = 'give kinds of structures one name, or let another key be read: group = "…" in [keys] of --config'
        yield table.finding("many-config-types", "note", single, what, fix)


def label_names(table: Table) -> Iterator[Finding]:
    """Names that are nearly those of labels, and values that look like labels under other names."""
    misspelt: dict[tuple[str, str], list[int]] = defaultdict(list)
    strange: dict[tuple[Kind, str], list[int]] = defaultdict(list)
    for s, member in enumerate(table.members):
        if member.atoms is None:
            continue
        lacking = [kind for kind in KINDS if kind not in member.frame.kinds]
        for name, value in _own_names(member.atoms).items():
            meant = _meant(name, table.keys)
            if meant is not None and _is_missing(meant, lacking, member.atoms, table.keys):
                misspelt[name, meant].append(s)
            elif meant is None:
                for kind in lacking:
                    if _looks_like(kind, name, value, member.atoms):
                        strange[kind, name].append(s)
    for (name, meant), which in misspelt.items():
        severity: Severity = "error" if meant in _LABELS else "warning"
        what = f"'{name}' is not a name that is looked up, and there is no '{meant}': it would be ignored"
        yield table.finding("misspelt-key", severity, which, what, f"rename it to '{meant}'{_or_name(meant, name)}")
    for (kind, name), which in strange.items():
        what = f"These frames have no {kind}, but '{name}' looks like it and would be ignored"
        sign = "; a gradient is minus the force: turn its sign" if "grad" in name.lower() else ""
        yield table.finding("unknown-label", "warning", which, what, f'if it is, set {kind} = "{name}" in [keys]{sign}')


def _or_name(meant: str, name: str) -> str:
    field = {"force": "forces", "virials": "virial", "config_type": "group"}.get(meant, meant)
    return f', or set {field} = "{name}" in [keys] of --config (Keys({field}="{name}") in Python)'


def _own_names(atoms: Atoms) -> Mapping[str, Any]:
    """Everything in info, arrays and results of a calculator that the user may have meant as a label."""
    shelves = {**getattr(atoms.calc, "results", {}), **atoms.info, **atoms.arrays}
    return {str(name): value for name, value in shelves.items() if str(name).lower() not in _USUAL}


def _meant(name: str, keys: Keys) -> str | None:
    """The known name that a nearly equal one stands for; None for a known one, and for one that is far from all."""
    given = {str(getattr(keys, field)) for field in ("energy", "forces", "stress", "virial", *_EXTRAS)}
    plain = _PREFIX.sub("", name.lower())
    extras = [getattr(keys, field) for field in _EXTRAS]
    if name in given or plain in _LABELS or name in extras:
        return None
    close = difflib.get_close_matches(plain, [*_LABELS, *extras], n=1, cutoff=_ALIKE)
    return close[0] if close else None


def _is_missing(meant: str, lacking: list[Kind], atoms: Atoms, keys: Keys) -> bool:
    if meant in _LABELS:
        return _LABELS[meant] in lacking
    field = next(field for field in _EXTRAS if getattr(keys, field) == meant)
    return keys.find_extra(atoms, field) is None


def _looks_like(kind: Kind, name: str, value: Any, atoms: Atoms) -> bool:
    """By name and shape; forces also by shape alone, since few other arrays have three numbers per atom."""
    try:
        shape = np.shape(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        return False
    hint = _HINTS[kind].search(name) is not None
    if kind == "energy":
        return hint and shape in ((), (1,))
    if kind == "forces":
        return shape == (len(atoms), 3) and name in atoms.arrays and len(atoms) > 1
    return hint and shape in ((6,), (9,), (3, 3)) and bool(atoms.pbc.all())


def missing_labels(table: Table) -> Iterator[Finding]:
    """Kinds that no frame has, or only some."""
    frames = table.frames
    have = {kind: [s for s, frame in enumerate(frames) if kind in frame.kinds] for kind in KINDS}
    everything = range(len(frames))
    if frames and not any(have.values()):
        fix = "store them as energy, forces and stress, or name them in [keys]"
        yield table.finding("missing-labels", "error", everything, "No frame has energies, forces or stresses", fix)
        return
    lack = [s for s, frame in enumerate(frames) if frame.energy is None]
    fix = "add the label, name it in [keys], or remove the frames"
    if lack:
        what = f"{len(lack)} of {len(frames)} frames have no energy" if have["energy"] else "No frame has an energy"
        yield table.finding("missing-energy", "warning", lack, what, fix)
    many = [s for s in everything if frames[s].n_atoms > 1]
    lack = [s for s in many if frames[s].forces_ec is None]
    if lack and have["forces"]:
        what = f"{len(lack)} of {len(many)} frames with two atoms or more have no forces"
        yield table.finding("missing-forces", "warning", lack, what, fix)
    elif lack:
        what = "No frame has forces: a fit on energies alone needs many more frames"
        yield table.finding("missing-forces", "note", lack, what, "store forces, if the reference method has them")
    crystals = [s for s in everything if frames[s].pbc_c.all()]
    lack = [s for s in crystals if frames[s].stress_v is None]
    if lack and have["stress"]:
        what = f"{len(lack)} of {len(crystals)} periodic frames have no stress"
        yield table.finding("missing-stress", "note", lack, what, "none needed if they were left out on purpose")


def extras(table: Table) -> Iterator[Finding]:
    """The config_type of some frames only; masks of most forces; frames that say of themselves that they are bad."""
    atoms = {s: member.atoms for s, member in enumerate(table.members) if member.atoms is not None}
    known = list(atoms)
    nameless = [s for s in known if table.keys.find_extra(atoms[s], "group") is None]
    if 0 < len(nameless) < len(known):
        what = f"{len(nameless)} of {len(known)} frames have no '{table.keys.group}' and form the group 'default'"
        yield table.finding("config-type", "warning", nameless, what, "name the group of every frame, or of none")
    masks = {s: frame.force_mask_e for s, frame in enumerate(table.frames)}
    share = {s: 1.0 - float(np.mean(mask)) for s, mask in masks.items() if mask is not None}
    most = [s for s in share if share[s] > 0.5]
    if most:
        mean = 100.0 * float(np.mean([share[s] for s in most]))
        what = f"'{table.keys.force_mask}' leaves out {mean:.0f} % of the forces: True means *left out*, as in gap_fit"
        yield table.finding("force-mask", "warning", most, what, "turn the mask round if True was meant to keep forces")
    flagged: dict[str, list[int]] = defaultdict(list)
    for s in known:
        for name, value in atoms[s].info.items():
            if _QUALITY.search(str(name)) and np.ndim(value) == 0 and str(value).lower() not in _GOOD:
                flagged[f"{name} = {value}"].append(s)
    for text, which in flagged.items():
        what = f"These frames say of themselves '{text}', which gapkit does not look at"
        fix = "leave these frames out, or the labels that it concerns, if that is what it means"
        yield table.finding("flagged-frames", "note" if "unknown" in text else "warning", which, what, fix)
