"""The kinds of term by their names in files: a new kind is one class, named here."""

from __future__ import annotations

from gapkit.model.acsf_term import ACSFTerm
from gapkit.model.pair_term import PairTerm
from gapkit.model.soap_term import SoapTerm
from gapkit.model.terms import Term
from gapkit.model.triplet_term import TripletTerm

TERM_KINDS: dict[str, type[Term]] = {term.kind: term for term in (PairTerm, TripletTerm, SoapTerm, ACSFTerm)}
