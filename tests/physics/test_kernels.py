"""Every kernel is held to the laws of a covariance and its gradient."""

from __future__ import annotations

import numpy as np

import gapkit.kernels
from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct
from gapkit.testing import KernelLaws, implementations


class TestUnitVectors(KernelLaws):
    def kernels(self) -> dict[str, Kernel]:
        return {f"zeta={zeta}": DotProduct(zeta) for zeta in (1, 2, 4, 7)} | {"gaussian": Gaussian(0.7)}


class TestDistances(KernelLaws):
    def kernels(self) -> dict[str, Kernel]:
        return {"gaussian": Gaussian(0.8), "narrow": Gaussian(0.2)}

    def features(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(1.5, 5.0, (n, 1))


def test_no_kernel_is_forgotten() -> None:
    held = {type(kernel) for case in (TestUnitVectors, TestDistances) for kernel in case().kernels().values()}
    assert implementations(gapkit.kernels, Kernel) == held == {DotProduct, Gaussian}
