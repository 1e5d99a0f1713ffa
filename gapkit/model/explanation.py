"""What `GAP.explain` says of one structure, as numbers and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

PRIOR: Final = ("", "prior")
"""Key of the share of what was assumed before any label was seen."""
ISOLATED_ATOMS: Final = ("", "isolated atoms")
"""Key of the share of the energies of the isolated atoms, at which the fit is held."""


class Similar(NamedTuple):
    """A sparse environment, its correlation with the atom explained (0 … 1), and where it comes from."""

    term: str
    column: int
    correlation: float
    origin: str

    def __str__(self) -> str:
        return self.origin or f"sparse point {self.column} of {self.term}, of unknown origin"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Result of `GAP.explain`; as text, a report.

    Attributes
    ----------
    energy, by_term
        Energy of the structure, eV; the same by term, with the isolated atoms ("e0").
    energy_std
        σ to compare an error with, eV, calibrated where the model is; without a calibration its square is the sum of
        the squares of the next three.
    energy_data_std, energy_prior_std, energy_aleatoric_std
        What the data leave open; what the sparse points do not span; noise and misfit of a label.
    atom, symbol
        The atom explained.
    local_energy, local_by_term
        Its local energy, eV.
    local_data_std, local_prior_std
        The two parts of the posterior σ of its local energy, eV. Where labels say little about how the energy is
        divided among the atoms (every structure has one composition), it is large though the energy itself is known.
    extrapolation, nearest
        As in `Prediction`: 0 for a sparse environment, 1 for what is unlike all of them.
    similar
        Most similar sparse environments of each many-body term, falling correlation; empty for pair terms.
    energy_shares, local_shares
        {(config_type, kind): share of what is known about the energy, or the local energy}, falling, with
        ("", "prior") and ("", "isolated atoms"); they sum to one. A share is ∂ln(data part of σ²)/∂ln(σ² of these
        labels). None for a model that was saved without its compressed data.
    """

    energy: float
    by_term: Mapping[str, float]
    energy_std: float
    energy_data_std: float
    energy_prior_std: float
    energy_aleatoric_std: float
    atom: int
    symbol: str
    local_energy: float
    local_by_term: Mapping[str, float]
    local_data_std: float
    local_prior_std: float
    extrapolation: float
    nearest: int
    similar: tuple[Similar, ...]
    energy_shares: Mapping[tuple[str, str], float] | None
    local_shares: Mapping[tuple[str, str], float] | None

    @property
    def summary(self) -> str:
        """What matters most, in one sentence."""
        parts, name = [], f"atom {self.atom} ({self.symbol})"
        if self.similar:
            best = {s.term: s for s in reversed(self.similar)}
            one = min(best.values(), key=lambda s: (s.correlation, s.column))  # of the term that knows least
            parts.append(f"the environment most similar to {name} is {one} with correlation {one.correlation:.3f}")
        for what, shares in {"the energy": self.energy_shares, "its local energy": self.local_shares}.items():
            if shares:
                key, share = next(iter(shares.items()))
                parts.append(f"{100 * share:.0f} % of what is known about {what} comes from {_label(key)}")
        data, prior = self.local_data_std**2, self.local_prior_std**2
        if data + prior > 0.0:
            share = 100 * data / (data + prior)
            left = f"{share:.0f} % of its σ² is what the data leave open"
            parts.append(f"{left}, {100 - share:.0f} % what the sparse points do not span")
        return "; ".join(parts)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"energy {self.energy:.6g} eV = {_sum(self.by_term)}"
        yield (
            f"σ {self.energy_std:.3g} eV: data leave {self.energy_data_std:.3g}, sparse points do not span "
            f"{self.energy_prior_std:.3g}, noise of a label {self.energy_aleatoric_std:.3g}"
        )
        yield f"atom {self.atom} ({self.symbol}) {self.local_energy:.6g} eV = {_sum(self.local_by_term)}"
        yield (
            f"σ {np.hypot(self.local_data_std, self.local_prior_std):.3g} eV: data leave {self.local_data_std:.3g}, "
            f"sparse points do not span {self.local_prior_std:.3g}; extrapolation {self.extrapolation:.3f}"
        )
        if self.similar:
            yield "most similar sparse environments, by correlation"
            yield from (f"  {s.correlation:.4f}  {s.term}  {s}" for s in self.similar)
        if self.energy_shares is None or self.local_shares is None:
            yield "which labels it rests on is not known: the model was saved without its data (save it with data=True)"
        else:
            yield "what is known about the energy, and about the local energy, comes from"
            for key, share in self.energy_shares.items():
                if max(share, self.local_shares[key]) >= 0.0005:
                    yield f"  {100 * share:5.1f} %  {100 * self.local_shares[key]:5.1f} %  {_label(key)}"
        yield f"{self.summary[:1].upper()}{self.summary[1:]}."


def _sum(by_term: Mapping[str, float]) -> str:
    """-2.5 (e0) + 0.3 (soap0)."""
    return " + ".join(f"{energy:.6g} ({name})" for name, energy in by_term.items()).replace("+ -", "- ")


def _label(key: tuple[str, str]) -> str:
    if key in (PRIOR, ISOLATED_ATOMS):
        return "the prior" if key == PRIOR else "the isolated atoms"
    plural = {"energy": "energies", "stress": "stresses"}.get(key[1], key[1])
    return f"{plural} of {key[0]}"
