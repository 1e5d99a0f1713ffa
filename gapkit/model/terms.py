"""What a model asks of the settings of a term, and what the kinds of term have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from ase.data import chemical_symbols

from gapkit._check import positive
from gapkit.atoms.frame import Frame
from gapkit.descriptors.base import Descriptor
from gapkit.errors import ConfigError, SpeciesError
from gapkit.gp.term import SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.numerics.select import POOL_BYTES

Json = dict[str, Any]
Arrays = dict[str, np.ndarray]


class Term(Protocol):
    """Settings of a term; `gapkit.model.term_kinds` lists the classes.

    Attributes
    ----------
    kind
        Its name in model files and in the files that the command line reads.
    delta
        Prior standard deviation of a site's energy, eV; None: the most probable one.
    """

    kind: ClassVar[str]
    delta: float | None

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Choose sparse points among the environments of the frames, of which `pool` bytes are looked at."""
        ...

    def settings(self, fitted: SparseTerm) -> Json:
        """The settings as JSON types, with what was left open as it was chosen for the fitted term."""
        ...

    @staticmethod
    def describe(fitted: SparseTerm, arrays: Arrays) -> Json:
        """Descriptor and kernel of the fitted term as JSON types; arrays are added under names of the term."""
        ...

    @staticmethod
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Descriptor, Kernel]:
        """Descriptor and kernel that `describe` described; `entry` has the term's name, too."""
        ...


def first_delta(name: str, delta: object) -> float:
    """δ with which a fit begins, eV; ConfigError for one that is not positive."""
    return 1.0 if delta is None else positive(name, delta, "eV")


def checked_cutoff(name: str, r_cut: object, width: object) -> tuple[float, float]:
    """Cutoff and width of a term of bonds or triangles, Å; ConfigError where they make no sense."""
    r, w = positive(f"{name}.r_cut", r_cut, "Å"), positive(f"{name}.width", width, "Å")
    if r <= 1.0:
        raise ConfigError(f"{name}.r_cut={r:g} Å is shorter than any bond", fix="give r_cut > 1 Å, such as 4")
    if w > r:
        raise ConfigError(f"{name}.width={w:g} Å is larger than r_cut", fix="give a width below r_cut")
    return r, w


def species_of(frames: Iterable[Frame]) -> list[int]:
    """Atomic numbers in the frames, ascending."""
    return sorted({int(z) for frame in frames for z in np.unique(frame.numbers_e)})


def require_species(known: Sequence[int], frames: Iterable[Frame]) -> None:
    """SpeciesError for the first frame with an element that is not known."""
    for frame in frames:
        foreign = ~np.isin(frame.numbers_e, known)
        if foreign.any():
            atoms = np.flatnonzero(foreign)
            symbols = ", ".join(sorted({chemical_symbols[z] for z in frame.numbers_e[atoms]}))
            places = ", ".join(map(str, atoms[:5])) + (" …" if len(atoms) > 5 else "")
            raise SpeciesError(
                f"Species not covered. The model knows {', '.join(chemical_symbols[z] for z in known)}; "
                f"here is {symbols} at atoms {places}",
                where=frame.where,
                fix="add frames with it (GAP.extend, gapkit extend) or fit anew, or remove those atoms",
            )


def isolated_frame(number: int) -> Frame:
    """One atom alone."""
    return Frame(np.array([number]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool))
