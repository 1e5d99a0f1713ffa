"""Features of an environment as a descriptor of more elements has them.

An environment knows nothing of elements that it does not hold: the features that only they have are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gapkit.descriptors.acsf import Acsf
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.basis import SoapBasis
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.soap_points import SoapPoints
from gapkit.descriptors.symmetry import SymmetryFunctions
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]


def all_features(points: Any) -> FloatArray:
    """Sparse points before any projection, shape (M, F)."""
    mapped = isinstance(points, SoapPoints) and points.map_fd is not None
    return np.asarray(points.x_md @ points.map_fd.T if mapped else points.x_md)


def widened(x_mf: FloatArray, channel: Channel, old: Descriptor, wide: Descriptor) -> FloatArray:
    """Features of one channel of `old` as those of `wide`, shape (M, F'); all else in the two descriptors is alike.

    Raises
    ------
    TypeError
        Descriptors of different kinds.
    """
    if isinstance(old, (Soap, DscribeSoap)) and isinstance(wide, (Soap, DscribeSoap)):
        place_f, width = _soap_places(old.basis, wide.basis), wide.basis.n_features
    elif isinstance(old, Acsf) and isinstance(wide, Acsf):
        place_f, width = _acsf_places(old.functions, wide.functions), wide.functions.n_features
        x_mf = x_mf * old.scale[channel] / wide.scale[channel][place_f]
    elif type(old) is type(wide):
        return x_mf  # distances and triangles
    else:
        raise TypeError(f"features of {type(old).__name__} are none of {type(wide).__name__}")
    wide_mf = np.zeros((len(x_mf), width))
    wide_mf[:, place_f] = x_mf
    return wide_mf


def with_scales(old: Descriptor, wide: Descriptor) -> Descriptor:
    """`wide` with the scales that the features of `old` have; the new ones keep those of `wide`."""
    if not (isinstance(old, Acsf) and isinstance(wide, Acsf)):
        return wide
    place_f, scale = _acsf_places(old.functions, wide.functions), {}
    for channel, own_f in wide.scale.items():
        scale[channel] = own_f.copy()
        if channel in old.scale:
            scale[channel][place_f] = old.scale[channel]
    return Acsf(wide.functions, scale)


def _soap_places(old: SoapBasis, wide: SoapBasis) -> IntArray:
    """Where each feature of a SOAP stands in that of more elements, shape (F,)."""
    l, a, b = old.feature_index.T
    if wide.embedding_sk is None and old.n_channels < wide.n_channels:  # a and, but for mu1nu1, b count (species, n)
        a = _moved(a, old.n_max, old.species, wide.species)
        b = b if old.mode == "mu1nu1" else _moved(b, old.n_max, old.species, wide.species)
    return _found(np.stack([l, a, b]), wide.feature_index.T)


def _moved(index: IntArray, n: int, old: Sequence[int], wide: Sequence[int]) -> IntArray:
    place = np.searchsorted(wide, old)
    return np.asarray(place[index // n] * n + index % n)


def _acsf_places(old: SymmetryFunctions, wide: SymmetryFunctions) -> IntArray:
    """The same for symmetry functions: radial ones of each element, then angular ones of each pair (a, b ≤ a)."""
    place = np.searchsorted(wide.species, old.species)
    radial = (place[:, None] * old.n_radial + np.arange(old.n_radial)).ravel()
    a, b = np.tril_indices(len(old.species))
    pair = place[a] * (place[a] + 1) // 2 + place[b]
    angular = (pair[:, None] * old.n_angular + np.arange(old.n_angular)).ravel()
    return np.concatenate([radial, len(wide.species) * old.n_radial + angular])


def _found(keys: IntArray, among: IntArray) -> IntArray:
    """Column of each column of `keys` among others."""
    shape = tuple(among.max(axis=1) + 1)
    code = np.ravel_multi_index(tuple(among), shape)
    order = np.argsort(code)
    return np.asarray(order[np.searchsorted(code, np.ravel_multi_index(tuple(keys), shape), sorter=order)])
