"""Vectors of the elements that mix their densities, so that the cost of a SOAP does not grow with their number.

    c^k = Σ_Z u_kZ c^Z        K channels k of S elements Z

The spectrum is that of the K channels. Similar vectors make elements similar to the kernel: Willatt, Musil, Ceriotti,
Phys. Chem. Chem. Phys. 20, 29661 (2018), eqs. 11-13; a review of such compressions is Darby, Kermode, Csányi,
npj Comput. Mater. 8, 166 (2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from gapkit._check import whole
from gapkit.errors import ConfigError
from gapkit.typing import FloatArray, IntArray

_MOST_SHARED: Final = 0.8  # cosine of the vectors of two elements that resemble one another
_NOBLE: Final = np.array([0, 2, 10, 18, 36, 54, 86, 118])

# Pauling's scale, as tabulated in the CRC Handbook of Chemistry and Physics; He, Ne and Ar, which it lacks, by
# L. C. Allen, J. Am. Chem. Soc. 111, 9003 (1989); where f elements and Rn have none, that of a neighbour. H to Lr.
_ELECTRONEGATIVITY: Final = np.array(
    [
        2.20, 4.16, 0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, 4.79, 0.93, 1.31, 1.61, 1.90, 2.19, 2.58, 3.16, 3.24,
        0.82, 1.00, 1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88, 1.91, 1.90, 1.65, 1.81, 2.01, 2.18, 2.55, 2.96, 3.00,
        0.82, 0.95, 1.22, 1.33, 1.60, 2.16, 2.10, 2.20, 2.28, 2.20, 1.93, 1.69, 1.78, 1.96, 2.05, 2.10, 2.66, 2.60,
        0.79, 0.89, 1.10, 1.12, 1.13, 1.14, 1.14, 1.17, 1.17, 1.20, 1.20, 1.22, 1.23, 1.24, 1.25, 1.25, 1.00, 1.30,
        1.50, 1.70, 1.90, 2.20, 2.20, 2.20, 2.40, 1.90, 1.80, 1.80, 1.90, 2.00, 2.20, 2.20, 0.70, 0.90, 1.10, 1.30,
        1.50, 1.70, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30,
    ]
)  # fmt: skip


def embedding_vectors(embedding: object, species: Sequence[int]) -> FloatArray:
    """Vectors of some elements, shape (S, K), from a number K or {symbol: K numbers}.

    Raises
    ------
    ConfigError
        An element without a vector, vectors that are not finite, zero, or of different lengths.
    """
    if not isinstance(embedding, Mapping):
        return chemical_vectors(species, whole("embedding", embedding, min(2, len(species)), len(species)))
    rows = []
    for symbol in (chemical_symbols[z] for z in species):
        if symbol not in embedding:
            raise ConfigError(f"the embedding has no vector of {symbol}", fix=f"add '{symbol}': [K numbers]")
        try:
            u_k = np.array(embedding[symbol], dtype=float)
        except (TypeError, ValueError):
            u_k = np.empty((0, 0))
        if u_k.ndim != 1 or not np.isfinite(u_k).all() or not u_k.any():
            what = f"the embedding of {symbol} is {embedding[symbol]!r}"
            raise ConfigError(what, fix="give a list of K finite numbers that are not all zero")
        rows.append(u_k)
    if len({len(u_k) for u_k in rows}) > 1:
        raise ConfigError("the vectors of the embedding differ in length", fix="give K numbers for every element")
    return np.array(rows)


def chemical_features(numbers: IntArray) -> FloatArray:
    """Period, group, electronegativity (Pauling) and covalent radius (Å; Cordero et al. 2008), shape (S, 4).

    f elements count as group 3.
    """
    period = np.searchsorted(_NOBLE, numbers)
    place, length = numbers - _NOBLE[period - 1], np.diff(_NOBLE)[period - 1]
    s_block = place <= np.where(length == 2, 1, 2)
    group = np.where(s_block, place, np.maximum(3, 18 - length + place))
    chi = _ELECTRONEGATIVITY[np.minimum(numbers, len(_ELECTRONEGATIVITY)) - 1]
    return np.column_stack([period, group, chi, covalent_radii[numbers]]).astype(float)


def most_similar(number: int, among: Sequence[int]) -> tuple[int, float]:
    """The element of most similar chemistry, and how similar: exp(-mean x²) of the differences x of the features over
    their standard deviations in the elements H to Lr, above 0 and at most 1."""
    scale_f = chemical_features(np.arange(1, len(_ELECTRONEGATIVITY) + 1)).std(axis=0)
    x_sf = (chemical_features(np.array(among)) - chemical_features(np.array([number]))) / scale_f
    similar_s = np.exp(-np.mean(x_sf**2, axis=1))
    nearest = int(similar_s.argmax())
    return among[nearest], float(similar_s[nearest])


def resembling(known: Mapping[int, FloatArray], species: Sequence[int]) -> dict[str, list[float]]:
    """Vectors of elements that each have a direction of their own, by symbol.

    Known ones keep theirs. A new one has a direction more, and a share, at most 0.8, in the vector of the known one of
    most similar chemistry: the kernel between environments of known elements stays what it was, and new ones are like
    these from the start. By elements apart a few frames of an alloy tell next to nothing of other compositions.
    """
    new = [z for z in species if z not in known]
    vectors = {z: np.concatenate([u_k, np.zeros(len(new))]) for z, u_k in known.items()}
    for k, z in enumerate(new):
        near, similar = most_similar(z, list(known))
        cosine = min(similar, _MOST_SHARED)
        vectors[z] = cosine * vectors[near]
        vectors[z][len(known[near]) + k] = np.sqrt(1.0 - cosine**2) * np.linalg.norm(known[near])
    return {chemical_symbols[z]: vectors[z].tolist() for z in species}


def chemical_vectors(species: Sequence[int], k: int) -> FloatArray:
    """Unit vectors of some elements from their chemical features, shape (S, K): similar elements have similar ones.

    A constant column, and the scores of the first K - 1 principal components of the features, standardised over the
    elements and seen through a Gaussian kernel of width one. The first component has the variance of the constant, the
    others follow in proportion, the largest score of each is positive; then each row is scaled to unit length.
    """
    if k == 1:
        return np.ones((len(species), 1))
    x_sf = chemical_features(np.array(species))
    x_sf -= x_sf.mean(axis=0)
    scale_f = x_sf.std(axis=0)
    x_sf /= np.where(scale_f > 1e-12, scale_f, 1.0)
    s = len(species)
    similar_ss = np.exp(-0.5 * np.mean((x_sf[:, None] - x_sf) ** 2, axis=2))
    centred_ss = similar_ss - similar_ss.mean(axis=0) - similar_ss.mean(axis=1)[:, None] + similar_ss.mean()
    values_s, parts_ss = np.linalg.eigh(centred_ss)
    scores_sk = (parts_ss * np.sqrt(np.maximum(values_s / values_s[-1], 0.0)))[:, :0:-1][:, : k - 1]
    largest = np.argmax(np.abs(scores_sk).round(9), axis=0)
    scores_sk *= np.sign(scores_sk[largest, np.arange(k - 1)])
    u_sk = np.column_stack([np.full(s, s**-0.5), scores_sk])
    return np.asarray(u_sk / np.linalg.norm(u_sk, axis=1)[:, None])
