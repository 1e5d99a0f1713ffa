"""All structures of a check in one table, and what the rules share: fingerprints and pairs, made when first needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms

from gapkit import Frame, Keys
from gapkit.datasets.bonds import Bond, crushed, shortest, usual_share
from gapkit.datasets.finding import Finding, Place, Severity
from gapkit.datasets.fingerprints import Fingerprints
from gapkit.datasets.pairs import Pairs, similar_pairs
from gapkit.typing import FloatArray

_STRAINED = 0.16  # share by which bonds must differ before an energy is beyond judgement; up to 0.15 in liquids
_SAMPLE = 30  # structures that say what is usual


@dataclass(frozen=True, eq=False)
class Member:
    """A structure that could be read: as a Frame, and as it was given (None if it was given as a Frame)."""

    frame: Frame
    place: Place
    atoms: Atoms | None = None

    @property
    def per_atom(self) -> float:
        """Energy per atom, eV; NaN without a label."""
        return float("nan") if self.frame.energy is None else self.frame.energy / self.frame.n_atoms

    @property
    def formula(self) -> tuple[tuple[int, int], ...]:
        """Atomic numbers and their smallest whole ratio, equal for supercells of one composition."""
        numbers, counts = np.unique(self.frame.numbers_e, return_counts=True)
        return tuple(zip(numbers.tolist(), (counts // np.gcd.reduce(counts)).tolist(), strict=True))


class Table:
    """The readable structures, s = 0 … S-1, and what is computed of all of them once."""

    def __init__(self, members: Sequence[Member], keys: Keys) -> None:
        self.members = tuple(members)
        self.keys = keys
        self.suspect: set[int] = set()
        """Structures whose energies a rule has found to be of another unit or method: other rules leave them out."""
        self.judged: set[int] = set()
        """Structures whose forces a rule has compared with energies, well or not."""

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def frames(self) -> list[Frame]:
        """The frames of all members."""
        return [member.frame for member in self.members]

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """Indices of the members of every config_type, sorted by name."""
        return self.by(lambda member: member.frame.group)

    @cached_property
    def energy_s(self) -> FloatArray:
        """Energies per atom, eV; NaN without a label."""
        return np.array([member.per_atom for member in self.members])

    @cached_property
    def n_atoms_s(self) -> Any:
        """Numbers of atoms."""
        return np.array([frame.n_atoms for frame in self.frames], dtype=np.int64)

    @cached_property
    def bonds(self) -> list[Bond]:
        """The nearest two atoms of every structure."""
        return [shortest(frame) for frame in self.frames]

    @cached_property
    def crushed(self) -> set[int]:
        """Structures far too dense for any comparison of environments, which would take hours."""
        return {s for s, (frame, bond) in enumerate(zip(self.frames, self.bonds, strict=True)) if crushed(frame, bond)}

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Averages of SOAP vectors."""
        return Fingerprints(self.frames)

    @cached_property
    def pairs(self) -> Pairs:
        """Pairs of similar structures."""
        return similar_pairs(self.frames, self.fingerprints.mean_sf)

    def strained(self, which: Sequence[int], others: Sequence[int]) -> set[int]:
        """Those whose energies may lie far above the others': bonds are much shorter or longer than theirs."""
        if not which or not others:
            return set()
        some = [others[k] for k in np.unique(np.linspace(0, len(others) - 1, _SAMPLE).round().astype(int))]
        usual = float(np.median([usual_share(self.frames[s]) for s in some]))
        high = float(np.median(self.energy_s[some]))
        above = [s for s in which if self.energy_s[s] > high]
        return {s for s in above if abs(usual_share(self.frames[s]) / usual - 1.0) > _STRAINED}

    def by(self, key: Callable[[Member], Any]) -> dict[Any, list[int]]:
        """Indices of members with the same `key`, sorted by it."""
        found: dict[Any, list[int]] = defaultdict(list)
        for index, member in enumerate(self.members):
            found[key(member)].append(index)
        return dict(sorted(found.items()))

    def comparable(self) -> Table:
        """The table without crushed structures."""
        if not self.crushed:
            return self
        kept = [s for s in range(len(self)) if s not in self.crushed]
        table = Table([self.members[s] for s in kept], self.keys)
        table.suspect = {k for k, s in enumerate(kept) if s in self.suspect}
        return table

    def finding(self, rule: str, severity: Severity, which: Iterable[int], what: str, fix: str) -> Finding:
        """A finding about the members `which`."""
        places = tuple(self.members[index].place for index in sorted({int(index) for index in which}))
        return Finding(rule, severity, what, fix, places)


Rule: TypeAlias = Callable[[Table], Iterable[Finding]]
