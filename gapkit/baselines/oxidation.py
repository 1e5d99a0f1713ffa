"""Formal charges: one common oxidation state for each element, so that the structures are neutral."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from ase.symbols import Symbols

from gapkit.atoms.frame import Frame
from gapkit.errors import ConfigError, DataError, SpeciesError

_TABLE: Final = """
H 1 -1, He 0, Li 1, Be 2, B 3, C -4 4 2, N -3 5 3, O -2 -1, F -1, Ne 0, Na 1, Mg 2, Al 3, Si 4 -4, P 5 3 -3, S -2 6 4,
Cl -1 7 5, Ar 0, K 1, Ca 2, Sc 3, Ti 4 3 2, V 5 4 3 2, Cr 3 6 2, Mn 2 4 3 7, Fe 3 2, Co 2 3, Ni 2 3, Cu 2 1, Zn 2, Ga 3,
Ge 4 2 -4, As 3 5 -3, Se -2 4 6, Br -1 5, Kr 0, Rb 1, Sr 2, Y 3, Zr 4, Nb 5 4 3, Mo 6 4, Tc 7 4, Ru 4 3, Rh 3, Pd 2 4,
Ag 1, Cd 2, In 3 1, Sn 4 2, Sb 3 5 -3, Te -2 4 6, I -1 5 7, Xe 0, Cs 1, Ba 2, La 3, Ce 4 3, Pr 3 4, Nd 3, Pm 3, Sm 3 2,
Eu 3 2, Gd 3, Tb 3 4, Dy 3, Ho 3, Er 3, Tm 3, Yb 3 2, Lu 3, Hf 4, Ta 5, W 6 4, Re 7 4, Os 4 8, Ir 4 3, Pt 4 2, Au 3 1,
Hg 2 1, Tl 1 3, Pb 2 4, Bi 3 5, Po 4 2 -2, At -1, Rn 0, Fr 1, Ra 2, Ac 3, Th 4, Pa 5 4, U 6 4 5, Np 5 4, Pu 4 3, Am 3,
Cm 3
"""

STATES: Final = {(words := entry.split())[0]: tuple(map(int, words[1:])) for entry in _TABLE.split(",")}
"""Common oxidation states of the elements in solids, the one tried first in front.

Chosen from the tables of N. N. Greenwood and A. Earnshaw, Chemistry of the Elements, 2nd ed. (1997).
"""

_MOST: Final = 200_000  # combinations of states that are tried


def formal_charges(frames: Sequence[Frame], strict: bool = True) -> dict[str, float]:
    """One state of `STATES` for each element with which the frames are neutral.

    Of several choices the one with the fewest frames that are not neutral, then the one with states that stand
    further in front. A structure of one element is neutral only if the state is 0.

    Parameters
    ----------
    frames
        Structures without isolated atoms.
    strict
        Whether all frames must be neutral; False: at least one.

    Raises
    ------
    DataError
        No choice does that; the message has the first frame that is not neutral with the best one. No frames.
    SpeciesError
        An element that is not in the table.
    ConfigError
        So many elements that not all choices can be tried.
    """
    if not frames:
        what = "There are no structures, other than isolated atoms, that tell oxidation states"
        raise DataError(what, fix="give the charges, Coulomb({'Na': 1, 'Cl': -1})")
    # the heaviest element changes last: of two choices alike it keeps its first state
    numbers = sorted({int(z) for frame in frames for z in np.unique(frame.numbers_e)})
    symbols = [str(chemical_symbols[z]) for z in numbers]
    unknown = [symbol for symbol in symbols if symbol not in STATES]
    if unknown:
        what = f"There is no common oxidation state of {', '.join(unknown)}"
        where = next(frame.where for frame in frames if unknown[0] in Symbols(frame.numbers_e))
        raise SpeciesError(what, where=where, fix=f"give the charges, Coulomb({{'{unknown[0]}': ...}})")
    shape = [len(STATES[symbol]) for symbol in reversed(symbols)]
    if np.prod(shape, dtype=float) > _MOST:
        what = f"{len(symbols)} elements have too many combinations of oxidation states"
        raise ConfigError(what, fix="give their charges, Coulomb({'O': -2, ...})")
    rank_sx = np.indices(shape).reshape(len(shape), -1)[::-1]
    charge_sx = np.array([np.array(STATES[s])[rank_x] for s, rank_x in zip(symbols, rank_sx, strict=True)])
    compositions = Counter(tuple(int((frame.numbers_e == z).sum()) for z in numbers) for frame in frames)
    wrong_x = np.zeros(charge_sx.shape[1], dtype=np.int64)
    for counts, times in compositions.items():
        wrong_x += times * (np.array(counts) @ charge_sx != 0)
    best = int(np.lexsort((rank_sx.sum(axis=0), wrong_x))[0])
    charges = dict(zip(symbols, charge_sx[:, best].astype(float).tolist(), strict=True))
    if wrong_x[best] and (strict or wrong_x[best] == len(frames)):
        _refuse(frames, charges)
    return charges


def _refuse(frames: Sequence[Frame], charges: dict[str, float]) -> None:
    """Raise DataError for the first frame that is not neutral with the best charges."""
    for frame in frames:
        total = sum(charges[symbol] for symbol in Symbols(frame.numbers_e))
        if total:
            states = ", ".join(f"{symbol} {charge:+g}" for symbol, charge in charges.items())
            what = f"No common oxidation states, one for each element, make all structures neutral: with {states}"
            what += f" the charges of {Symbols(frame.numbers_e).get_chemical_formula('metal')} sum to {total:+g} e"
            fix = f"give the charges, Coulomb({{'{next(iter(charges))}': ...}}), or excess='share' to spread the rest"
            raise DataError(what, where=frame.where, fix=fix)
