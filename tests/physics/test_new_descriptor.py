"""A descriptor of one's own: these lines are all that it takes, and the harness says whether they are right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Descriptor
from gapkit.kernels.gaussian import Gaussian
from gapkit.testing import DescriptorLaws
from gapkit.typing import FloatArray, IntArray


class Coordination:
    """Two coordination numbers Σ_j (1 - r²/r_cut²)^k, k = 2 and 3, whatever the neighbours are."""

    species = (11, 17)
    channels = ((11,), (17,))
    reach = 4.5

    def pairs_of(self, pairs: Pairs, channel: tuple[int, ...]) -> Pairs:
        return pairs.of_species(channel[0]).within(self.reach)

    def sites(self, pairs: Pairs, channel: tuple[int, ...], points: Any = None) -> CoordinationSites:
        return CoordinationSites(pairs, self.reach, points)

    def points(self, x_md: FloatArray) -> Any:
        return SimpleNamespace(x_md=x_md)


class CoordinationSites:
    weight_s = None

    def __init__(self, pairs: Pairs, reach: float, points: Any) -> None:
        inside_p = 1.0 - np.sum(pairs.r_pc**2, axis=1) / reach**2
        slope_pd = np.column_stack([2.0 * inside_p, 3.0 * inside_p**2]) * (-2.0 / reach**2)
        self._rows_pcd = pairs.r_pc[:, :, None] * slope_pd[:, None, :]
        self._e_p, self._points = pairs.e_p, points
        self.centre_s: IntArray = pairs.centres_e
        counts = [np.bincount(pairs.e_p, inside_p**k, len(self.centre_s)) for k in (2, 3)]
        self.x_sd = self.full_sd = np.column_stack(counts)

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None = None) -> FloatArray:
        return np.einsum("pcd,pd->pc", self._rows_pcd, gx_sd[self._e_p])

    def jacobian(self) -> Any:
        return SimpleNamespace(
            site_q=self._e_p,
            pair_q=np.arange(len(self._e_p)),
            rows_qcx=self._rows_pcd,
            along_qc=np.einsum("pcd,pd->pc", self._rows_pcd, self.x_sd[self._e_p]),
            weight_slope_qc=None,
            meet=lambda rows_qcx: rows_qcx @ self._points.x_md.T,
        )


class TestCoordination(DescriptorLaws):
    kernel = Gaussian(2.0)

    def descriptors(self) -> dict[str, Descriptor]:
        return {"coordination": Coordination()}
