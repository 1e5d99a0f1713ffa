"""What many fits of the same data have in common: structures that were read and checked, and what baselines say."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.baselines.base import Baseline, Contribution
from gapkit.baselines.cohesion import Cohesion
from gapkit.baselines.zbl import ZBL
from gapkit.errors import ConfigError
from gapkit.gp.term import SparseTerm
from gapkit.kernels.polynomial import DotProduct
from gapkit.model.defaults import default_terms
from gapkit.model.known import Known, OfElements, known_of
from gapkit.model.soap_term import SoapTerm
from gapkit.model.terms import Term, first_delta

_REMEMBERED = 4  # terms whose sparse points are kept: a search tries any number of cutoffs


@dataclass(frozen=True, eq=False)
class Prepared:
    """Labelled structures for many fits; see `GAP.prepare`.

    Attributes
    ----------
    frames
        The structures.
    terms
        Terms of the model that prepared them: its own, or those chosen from the data.
    baselines
        The same of its baselines, before they have seen the data.
    e0
        Its energies of isolated atoms.
    keys
        Names under which structures hold what is read of them.
    complete, found, found_b, known
        The baselines made ready for the data, and what they and e0 know (see `gapkit.model.known.known_of`).
    """

    frames: Sequence[Frame]
    terms: Sequence[Term]
    baselines: Sequence[Baseline]
    e0: Mapping[str | int, float] | None
    keys: Keys
    complete: Sequence[Baseline]
    found: OfElements
    found_b: Sequence[OfElements]
    known: Sequence[Known]
    _chosen: dict[bytes, tuple[SparseTerm, Any]] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Text by which the structures, their labels and order are known again."""
        numbers = np.array([frame.hash for frame in self.frames], dtype=np.uint64)
        return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]

    def choose(self, name: str, term: Any, random: np.random.Generator, pool: float, n_jobs: int) -> SparseTerm:
        """A term with sparse points, as its own `choose`; they are chosen once, of SOAP for all ζ and δ."""
        soap = isinstance(term, SoapTerm)
        settings = {k: v for k, v in term.get_params(deep=False).items() if not (soap and k in ("zeta", "delta"))}
        try:
            key = pickle.dumps((name, type(term).__name__, settings, pool, random.bit_generator.state))
        except (pickle.PicklingError, TypeError, AttributeError):  # settings that cannot be compared
            return term.choose(name, self.frames, random, pool, n_jobs)
        if key in self._chosen:
            self._chosen[key] = self._chosen.pop(key)  # the last one that was used
        else:
            chosen = term.choose(name, self.frames, random, pool, n_jobs)
            self._chosen[key] = chosen, random.bit_generator.state
            for old in list(self._chosen)[:-_REMEMBERED]:
                del self._chosen[old]
        found, random.bit_generator.state = self._chosen[key]
        if not soap:
            return found
        return replace(found, kernel=DotProduct(term.zeta), delta=first_delta("SoapTerm.delta", term.delta))

    @property
    def subtracted(self) -> list[Contribution] | None:
        """What a model subtracts from the labels of each structure; None where a fit decides on the scale of it."""
        return None if self.found_b else [known.fixed for known in self.known]

    def require(self, baselines: Sequence[Baseline] | None, e0: Mapping[str | int, float] | None) -> None:
        """ConfigError for a model of other known physics than that which prepared the data."""
        given = self.baselines if baselines is None else baselines
        same = len(given) == len(self.baselines) and all(a is b for a, b in zip(given, self.baselines, strict=True))
        if not same or e0 != self.e0:
            what = "the data were prepared by a model with other baselines or e0"
            raise ConfigError(what, fix="give this model the baselines and e0 of that one, or call its own prepare")


def prepared(
    data: Sequence[Frame],
    terms: Sequence[Term] | None,
    baselines: Sequence[Baseline] | None,
    e0: Mapping[str | int, float] | None,
    keys: Keys,
) -> Prepared:
    """Terms and baselines of a model for some structures, and what is known of these; see `GAP` for the settings."""
    settings = default_terms(data) if terms is None else list(terms)
    if not settings:
        raise ConfigError("the model has no terms", fix="give SoapTerm or PairTerm, or terms=None for defaults")
    given = default_baselines(terms is None) if baselines is None else list(baselines)
    complete = [b.prepared(data) for b in given]
    return Prepared(data, settings, given, e0, keys, complete, *known_of(data, complete, e0))


def default_baselines(chosen_terms: bool) -> list[Baseline]:
    """A repulsion at short distances; with default terms, which must be safe, also the cohesion of bound atoms."""
    return [ZBL(), Cohesion()] if chosen_terms else [ZBL()]
