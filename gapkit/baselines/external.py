"""Any ASE calculator as a baseline: the fit learns the difference to it."""

from __future__ import annotations

import json
import math
import pickle
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, Final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import chemical_symbols

from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.baselines.base import Contribution
from gapkit.errors import ConfigError, DataError
from gapkit.typing import FloatArray, IntArray, Kind

TRUSTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "emt": ("ase.calculators.emt", "EMT", "ase"),
    "lj": ("ase.calculators.lj", "LennardJones", "ase"),
    "morse": ("ase.calculators.morse", "MorsePotential", "ase"),
    "tblite": ("tblite.ase", "TBLite", "tblite"),
    "dftd3": ("dftd3.ase", "DFTD3", "dftd3"),
    "dftd4": ("dftd4.ase", "DFTD4", "dftd4"),
}
"""Calculators that a model file may name: module, class, and the package to install. They run no other program."""

_QUIET: Final = {"tblite": {"verbosity": 0}}  # it prints a table per calculation otherwise
_FILES: Final = {"atoms", "command", "directory", "label", "parameters", "restart"}  # arguments of ASE's base classes
_FIX: Final = "check the structure, or remove the frame"
_registered: dict[str, Callable[..., Any]] = {}


def register_calculator(name: str, factory: Callable[..., Any]) -> None:
    """Make a calculator known to `External` in this process, before a model that has it is fitted or loaded.

    Parameters
    ----------
    name
        What `External` and model files call it; a later registration replaces an earlier one.
    factory
        Called with the arguments of `External`; returns an ASE calculator. Model files do not hold it.

    Raises
    ------
    ConfigError
        The name is that of a built-in calculator, or the factory cannot be called.
    """
    if not isinstance(name, str) or not name or name in TRUSTED:
        raise ConfigError(f"a calculator cannot be registered as {name!r}", fix="give a text that is no built-in name")
    if not callable(factory):
        raise ConfigError(f"the factory of '{name}' cannot be called", fix="give a class, or a function that makes one")
    _registered[name] = factory


class External(Parametric):
    """An ASE calculator, by a name that a model file can hold.

    Parameters
    ----------
    name
        ``emt``, ``lj``, ``morse``, ``tblite``, ``dftd3``, ``dftd4``, or a name that was given to
        `register_calculator`.
    arguments
        Arguments of the calculator by name, as JSON types. Files and programs cannot be named in those of a
        built-in calculator, so that nobody's model file can.

    Notes
    -----
    The calculator's energies of isolated atoms, alone without a cell, are taken off. Where it has no energies of atoms
    in a structure, they share the energy evenly. Each thread has a calculator of its own, made when first needed.
    """

    kind: ClassVar[str] = "external"

    def __init__(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.arguments = arguments

    @property
    def reach(self) -> float:
        """Infinite: neighbour pairs do not help."""
        return math.inf

    def prepared(self, frames: Sequence[Frame]) -> External:
        """A copy whose calculator exists and takes the arguments.

        Raises
        ------
        ConfigError
            An unknown or missing calculator, or arguments that it does not take or a model file cannot hold.
        """
        self._make()
        return deepcopy(self)

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        """Energy of one structure, and the derivatives that `kinds` asks for; `pairs` are not used.

        Raises
        ------
        ConfigError
            As `prepared`, and for forces or a stress that the calculator does not have.
        DataError
            The calculation fails or gives numbers that are not finite; a stress without a cell.
        """
        if "stress" in kinds and frame.volume == 0.0:
            fix = "leave stress out of what you want, or give it a cell and pbc=True"
            raise DataError("A structure without a cell has no stress", where=frame.where, fix=fix)
        own = self._own()
        atoms = Atoms(frame.numbers_e, frame.positions_ec, cell=frame.cell_cc, pbc=frame.pbc_c)
        isolated_e = self._isolated(own, frame.numbers_e)
        atoms.calc = own.calculator
        virial_cc = forces_ec = None
        # derivatives first: a calculator that has computed them has the energy as well
        if "stress" in kinds:
            virial_cc = frame.volume * self._ask("stress", lambda: atoms.get_stress(voigt=False), frame.where)
        if "forces" in kinds:
            forces_ec = self._ask("forces", atoms.get_forces, frame.where)
        energy = float(self._ask("energy", atoms.get_potential_energy, frame.where))
        energies_e = np.zeros(frame.n_atoms)
        if "energies" in getattr(own.calculator, "implemented_properties", ()):
            energies_e = self._ask("energies", atoms.get_potential_energies, frame.where)
        rest = energy - energies_e.sum()  # some calculators leave a part out of the energies of atoms
        return Contribution(energies_e + rest / frame.n_atoms - isolated_e, forces_ec, virial_cc)

    def _ask(self, what: str, question: Callable[[], Any], where: str) -> FloatArray:
        """A finite result of the calculator, or what the user can do about it."""
        try:
            answer = np.array(question(), dtype=float)
        except PropertyNotImplementedError as error:
            fix = f"use one that has, or leave the labels out with Noise({what}=None) and do not ask for {what}"
            raise ConfigError(f"calculator '{self.name}' has no {what}", where=where, fix=fix) from error
        except Exception as error:  # whatever a foreign program raises
            message = f"{type(error).__name__}: {error}".rstrip(": ")
            failure = f"Calculator '{self.name}' failed ({message})"
            raise DataError(failure, where=where, fix=_FIX) from error
        if not np.isfinite(answer).all():
            failure = f"The {what} of calculator '{self.name}' has NaN or infinite numbers"
            raise DataError(failure, where=where, fix=_FIX)
        return answer

    def _isolated(self, own: Any, numbers_e: IntArray) -> FloatArray:
        """Energy of each atom if it were alone, shape (N,), eV."""
        numbers, index_e = np.unique(numbers_e, return_inverse=True)
        for number in map(int, numbers):
            if number not in own.isolated:
                alone = Atoms([number], calculator=own.calculator)
                where = f"isolated {chemical_symbols[number]} atom, whose energy is taken off"
                own.isolated[number] = float(self._ask("energy", alone.get_potential_energy, where))
        return np.array([own.isolated[int(number)] for number in numbers])[index_e]

    def _own(self) -> Any:
        """This thread's calculator, and its energies of isolated atoms."""
        own = self.__dict__.setdefault("_local", threading.local())
        settings = self.name, _json(self.arguments)
        if getattr(own, "settings", None) != settings:
            own.calculator, own.isolated, own.settings = self._make(), {}, settings
        return own

    def _make(self) -> Any:
        arguments = json.loads(_json(self.arguments))  # the calculator's own copy
        factory = _factory(self.name)
        if self.name not in _registered and _FILES & arguments.keys():
            given = ", ".join(sorted(_FILES & arguments.keys()))
            fix = "leave it out, or give the calculator a name of its own with gapkit.register_calculator"
            raise ConfigError(f"calculator '{self.name}' may not be given {given}", fix=fix)
        try:
            return factory(**{**_QUIET.get(self.name, {}), **arguments})
        except Exception as error:  # whatever a foreign program raises
            what = f"calculator '{self.name}' cannot be made of {arguments} ({type(error).__name__}: {error})"
            raise ConfigError(what, fix="correct External.arguments") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> External:
        return External(self.name, deepcopy(self.arguments, memo))

    def __getstate__(self) -> dict[str, Any]:
        """The settings, and a registered factory: other processes of this program must know it too."""
        state = {"name": self.name, "arguments": self.arguments}
        if self.name not in _registered:
            return state
        from joblib import wrap_non_picklable_objects

        try:  # what no module has under its name, such as a lambda, needs the wrapper, which in turn takes no class
            wrapped = wrap_non_picklable_objects(partial(_registered[self.name]), keep_wrapper=False)
            return state | {"factory": pickle.dumps(wrapped)}
        except Exception as error:  # whatever the parts of a foreign object raise
            what = f"calculator '{self.name}' cannot be sent to other processes ({error})"
            raise ConfigError(what, fix="use n_jobs=1, or register a function of a module") from error

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name, self.arguments = state["name"], state["arguments"]
        if "factory" in state and self.name not in _registered:
            _registered[self.name] = pickle.loads(state["factory"])


def _factory(name: Any) -> Callable[..., Any]:
    known = isinstance(name, str)
    if known and name in _registered:
        return _registered[name]
    if not known or name not in TRUSTED:
        fix = f"call gapkit.register_calculator({name!r}, factory) first; built in are {', '.join(sorted(TRUSTED))}"
        raise ConfigError(f"calculator {name!r} is not known", fix=fix)
    module, attribute, package = TRUSTED[name]
    try:
        factory: Callable[..., Any] = getattr(import_module(module), attribute)
    except ImportError as error:
        what = f"calculator '{name}' needs the package {package}, which cannot be imported ({error})"
        raise ConfigError(what, fix=f"pip install {package}") from error
    return factory


def _json(arguments: Any) -> str:
    """The arguments as text, if a model file can hold them."""
    try:
        text = json.dumps(arguments or {}, allow_nan=False, sort_keys=True)
        if json.loads(text) == (arguments or {}) and isinstance(arguments or {}, Mapping):
            return text
    except (TypeError, ValueError):
        pass
    what = f"External.arguments={arguments!r} cannot be kept in a model file"
    fix = "give {name: value} of texts, finite numbers, True, False, None, lists and dictionaries of them"
    raise ConfigError(what, fix=fix)
