"""What a sentinel saw, and how the structure is kept."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ase import Atoms

from gapkit import ConfigError, GapkitError, Prediction
from gapkit.errors import nearest

KEPT = ("momenta", "masses", "tags", "initial_charges", "initial_magmoms")


@dataclass(frozen=True)
class Flag:
    """One excursion, at the step where it was seen.

    Attributes
    ----------
    step
        Of the dynamics (`Sentinel.attach`), else the number of calculations before.
    kind
        forces_std or energy_std (σ above its limit), not finite, bond, force, temperature.
    message
        What happened, in one sentence.
    atom, symbol
        Index and element of the atom that it concerns most; -1 and "" for the whole structure.
    value, limit, unit
        What was measured, the limit that it passed, and their unit.
    sigma
        Exact σ of this atom's force, rms over components, of the whole structure the largest, eV/Å; calibrated where
        the model is. nan where it cannot be computed.
    extrapolation
        Of this atom or the largest: 0 … 1, see `Prediction`.
    nearest
        The training environment that resembles it most, "" if unknown.
    energy
        Of the structure, eV.
    """

    step: int
    kind: str
    message: str
    atom: int
    symbol: str
    value: float
    limit: float
    unit: str
    sigma: float
    extrapolation: float
    nearest: str
    energy: float


Action: TypeAlias = str | Callable[[Flag, Atoms], Any]
ACTIONS = ("record", "save", "stop")


class SentinelStop(GapkitError):
    """Raised out of a dynamics by the action "stop", after the frame was saved. The structure stays as it is.

    Attributes
    ----------
    flag
        Why.
    """

    def __init__(self, what: str, *, fix: str, where: str = "", flag: Flag | None = None) -> None:
        super().__init__(what, fix=fix, where=where)
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        """With its flag to other processes."""
        return partial(type(self), self.what, where=self.where, fix=self.fix, flag=self.flag), ()


def bare(atoms: Atoms) -> Atoms:
    """Structure and momenta alone: labels that it was read with belong to other positions."""
    twin = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for key in KEPT:
        if atoms.has(key):
            twin.set_array(key, atoms.arrays[key])
    return twin


def append_frame(path: Path, atoms: Atoms) -> None:
    """Add a structure to an extended XYZ file in one piece: at no time does the file end within a frame."""
    from ase.io import write  # slow to load, like all readers and writers

    text = io.StringIO()
    write(text, atoms, format="extxyz")
    content = text.getvalue().encode()
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(size)
            raise


def save_flag(path: Path, flag: Flag, atoms: Atoms, exact: Prediction | None) -> None:
    """Append a flagged structure, for a reference calculation: with σ and the reason, without energy and forces.

    What the model believes must not be read as a label by the next fit.
    """
    frame = bare(atoms)
    plain = flag.message.replace("Å", "A").replace("σ", "sigma")  # the comment line of a file for other programs
    frame.info = {"step": flag.step, "flag": flag.kind, "reason": plain, "flag_atom": flag.atom}
    for key in ("forces_std", "extrapolation"):
        values = getattr(exact, key, None)
        if values is not None:
            frame.set_array(key, values)
    append_frame(path, frame)


def read_actions(action: object) -> tuple[Action, ...]:
    """One action or several, checked."""
    several = isinstance(action, Collection) and not isinstance(action, str)
    found: list[Any] = list(action) if several else [action]  # type: ignore[call-overload]
    for one in found:
        if isinstance(one, str) and one not in ACTIONS:
            raise ConfigError(f"action '{one}' does not exist", fix=nearest(one, ACTIONS))
        if not isinstance(one, str) and not callable(one):
            what = f"action={one!r} is neither a name nor a function"
            raise ConfigError(what, fix=f"give {', '.join(ACTIONS)}, or a function of (flag, atoms)")
    return tuple(found)
