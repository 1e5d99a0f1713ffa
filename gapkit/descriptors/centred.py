"""What the engines of a SOAP have in common."""

from __future__ import annotations

from collections.abc import Sequence

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.basis import SoapBasis


class CentredOnAtoms:
    """One channel per central species."""

    def __init__(self, basis: SoapBasis) -> None:
        self.basis = basis

    @property
    def reach(self) -> float:
        """Largest distance at which a neighbour counts, Å."""
        return self.basis.reach

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return self.basis.species

    @property
    def channels(self) -> Sequence[tuple[int, ...]]:
        """One channel per central species."""
        return [(z,) for z in self.basis.species]

    def pairs_of(self, pairs: Pairs, channel: tuple[int, ...]) -> Pairs:
        """The pairs of centres of one species, inside the reach."""
        return pairs.of_species(channel[0]).within(self.reach)
