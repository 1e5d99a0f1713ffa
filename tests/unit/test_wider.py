"""Features in a descriptor of more elements: those that this descriptor itself gives the same environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.acsf import Acsf
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.pair import PairDistances
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.symmetry import SymmetryFunctions
from gapkit.descriptors.triplet import Triplets
from gapkit.descriptors.wider import all_features, widened, with_scales
from gapkit.kernels.polynomial import DotProduct
from tests.samples import cluster, crystal, soap_arguments

FUNCTIONS = {"r_cut": 3.6, "g2_params": [[0.5, 2.0], [1.0, 3.0]], "g4_params": [[0.01, 1, -1], [0.05, 2, 1]]}
VECTORS = {"H": [0.1, 0.9], "C": [0.5, -0.8], "Si": [1.0, 0.2], "Ge": [0.9, 0.4]}
Make = Callable[[list[str]], Descriptor]


def soap(mode: str = "off", weights: bool = False, **more: Any) -> Make:
    def make(symbols: list[str]) -> Descriptor:
        own = dict(zip(symbols, (0.3 + 0.1 * atomic_numbers[s] for s in symbols), strict=True)) if weights else None
        return Soap(
            soap_basis(soap_arguments(species=symbols, compression={"mode": mode, "species_weighting": own}, **more))
        )

    return make


def embedded(symbols: list[str]) -> Descriptor:
    basis = soap_basis(soap_arguments(species=symbols))
    return Soap(basis.embedded(np.array([VECTORS[s] for s in symbols])))


def acsf(symbols: list[str]) -> Descriptor:
    """With scales that differ from feature to feature, and from one descriptor to the next."""
    functions = SymmetryFunctions.of(FUNCTIONS, [atomic_numbers[s] for s in symbols])
    rng = np.random.default_rng(len(symbols))
    width = functions.n_features
    return Acsf(functions, {c: rng.uniform(0.5, 2.0, width) for c in Acsf(functions).channels})


KINDS: dict[str, Make] = {
    "off": soap(),
    "weights": soap(weights=True),
    "mu1nu1": soap("mu1nu1", weights=True),
    "mu2": soap("mu2", weights=True),
    "crossover": soap("crossover"),
    "embedded": embedded,
    "polynomial": lambda symbols: DscribeSoap(soap_basis(soap_arguments(species=symbols, rbf="polynomial"))),
    "acsf": acsf,
    "pair": lambda symbols: PairDistances([atomic_numbers[s] for s in symbols], 3.5, 1.0),
    "triplet": lambda symbols: Triplets([atomic_numbers[s] for s in symbols], 3.2, 1.0, (1.0, 0.7, 0.9)),
}
STRUCTURES = {"Si": [crystal(1), cluster(2, "Si5")], "C Si": [crystal(1, symbols="SiC"), cluster(2, "SiCSi2C2")]}


def features(descriptor: Descriptor, atoms: Atoms, channel: tuple[int, ...]) -> np.ndarray:
    pairs = NeighbourList(descriptor.reach).pairs(to_frame(atoms, labels=False))
    return descriptor.sites(descriptor.pairs_of(pairs, channel), channel).full_sd


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("known", STRUCTURES)
@pytest.mark.parametrize("more", [["H"], ["Ge"], ["H", "Ge"]])
def test_they_are_what_the_wide_descriptor_gives(name: str, known: str, more: list[str]) -> None:
    """With new elements before, after and on both sides of the known ones."""
    symbols = known.split()
    wide_symbols = sorted([*symbols, *more], key=lambda s: atomic_numbers[s])
    old, wide = KINDS[name](symbols), KINDS[name](wide_symbols)
    seen = 0
    for atoms in STRUCTURES[known]:
        for channel in old.channels:
            own = features(old, atoms, channel)
            if len(own):
                made, expected = widened(own, channel, old, wide), features(wide, atoms, channel)
                assert made.shape == expected.shape
                assert np.abs(made - expected).max() <= 1e-12 * np.abs(expected).max()
                seen += len(own)
    assert seen >= 7


@pytest.mark.parametrize("n", [3, 60])
def test_kernels_with_points_in_their_own_space_stay(n: int) -> None:
    """Of points before any projection, also where there are so many that the fit projected them."""
    structures = [crystal(k) for k in range(n // 2)] + [cluster(3, "Si3")]
    old, wide = soap()(["Si"]), soap()(["C", "Si"])
    assert isinstance(old, Soap)
    assert isinstance(wide, Soap)
    x_mf = np.concatenate([features(old, atoms, (14,)) for atoms in structures])
    points = old.points(x_mf)
    whole = all_features(points)
    assert (points.map_fd is None) == (n == 3)
    assert whole.shape == x_mf.shape
    far = widened(whole, (14,), old, wide)
    kernel, tests = DotProduct(3), features(old, cluster(9, "Si5"), (14,))
    wide_tests = features(wide, cluster(9, "Si5"), (14,))
    assert kernel.values(wide_tests, far) == pytest.approx(kernel.values(tests, whole), abs=1e-12)
    in_space = tests if points.map_fd is None else tests @ points.map_fd
    assert kernel.values(tests, whole) == pytest.approx(kernel.values(in_space, points.x_md), abs=1e-12)


def test_scales_of_known_features_stay() -> None:
    old, wide = acsf(["Si"]), acsf(["C", "Si"])
    assert isinstance(old, Acsf)
    assert isinstance(wide, Acsf)
    kept = with_scales(old, wide)
    assert isinstance(kept, Acsf)
    own = old.scale[14,]
    place = [int(np.flatnonzero(np.isclose(kept.scale[14,], s))[0]) for s in own]
    assert np.array_equal(kept.scale[14,][place], own)
    others = np.setdiff1d(np.arange(kept.functions.n_features), place)
    assert np.array_equal(kept.scale[14,][others], wide.scale[14,][others])
    assert np.array_equal(kept.scale[6,], wide.scale[6,])
    x = features(old, crystal(1), (14,))
    assert widened(x, (14,), old, kept)[:, place] == pytest.approx(x, rel=1e-14)
    assert with_scales(soap()(["Si"]), pair := KINDS["pair"](["Si"])) is pair


def test_other_kinds_of_descriptor_are_no_wider_ones() -> None:
    with pytest.raises(TypeError, match="features of Soap are none of Acsf"):
        widened(np.zeros((1, 3)), (14,), soap()(["Si"]), acsf(["C", "Si"]))
