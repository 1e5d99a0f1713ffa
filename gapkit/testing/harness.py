"""Classes of tests to inherit: pytest runs every law on every structure of the zoo."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit import GAP
from gapkit.descriptors.base import Descriptor
from gapkit.kernels.base import Kernel
from gapkit.kernels.polynomial import DotProduct
from gapkit.testing.descriptor_laws import DESCRIPTOR_LAWS
from gapkit.testing.gap_laws import GAP_LAWS, GAPLaw
from gapkit.testing.kernel_laws import KERNEL_LAWS, KernelLaw
from gapkit.testing.law import Law, Model
from gapkit.testing.model_laws import MODEL_LAWS
from gapkit.testing.sampled import TermModel, sample_model, sample_term
from gapkit.testing.zoo import environments, zoo
from gapkit.typing import FloatArray


class ModelLaws:
    """Laws of any model; a subclass defines the fixture `model`.

    Attributes
    ----------
    species
        Chemical symbols of the zoo.
    laws
        What is checked.
    exempt
        Names of laws that are known not to hold; say why.
    """

    species: ClassVar[Sequence[str]] = ("Si",)
    laws: ClassVar[Sequence[Law]] = MODEL_LAWS
    exempt: ClassVar[frozenset[str]] = frozenset()

    def structures(self) -> Mapping[str, Atoms]:
        """The structures that the laws are applied to, by name."""
        return zoo(self.species)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each law and structure that it applies to."""
        if {"law", "atoms"} <= set(metafunc.fixturenames):
            cases = _cases(self.structures(), self.laws, self.exempt)
            ids = [f"{structure}-{law.name}" for law, structure, _ in cases]
            metafunc.parametrize(("law", "atoms"), [(law, atoms) for law, _, atoms in cases], ids=ids)

    def test_model(self, law: Law, atoms: Atoms, model: Model) -> None:
        """One law on one structure."""
        law(model, atoms)


class DescriptorLaws:
    """Laws of descriptors, held by random functions of their features; a subclass defines `descriptors`.

    Attributes
    ----------
    laws, exempt
        As in `ModelLaws`.
    kernel
        A kernel that suits the features.
    n_points
        Sparse points per channel.
    derivative_accuracy
        Relative error of derivatives, for descriptors that take them numerically.
    """

    laws: ClassVar[Sequence[Law]] = (*MODEL_LAWS, *DESCRIPTOR_LAWS)
    exempt: ClassVar[frozenset[str]] = frozenset()
    kernel: ClassVar[Kernel] = DotProduct(3)
    n_points: ClassVar[int] = 8
    derivative_accuracy: ClassVar[float] = 0.0

    def descriptors(self) -> Mapping[str, Descriptor]:
        """The descriptors by name."""
        raise NotImplementedError

    def structures(self, species: Sequence[str]) -> Mapping[str, Atoms]:
        """The structures that the laws are applied to, by name."""
        return zoo(species)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each descriptor, law and structure that it applies to."""
        if "random_model" not in metafunc.fixturenames:
            return
        cases, ids = [], []
        for name, descriptor in self.descriptors().items():
            species = [chemical_symbols[z] for z in descriptor.species]
            build = functools.partial(sampled, descriptor, self.kernel, self.n_points, self.derivative_accuracy)
            model = functools.lru_cache(maxsize=1)(build)
            for law, structure, atoms in _cases(self.structures(species), self.laws, self.exempt):
                cases.append((law, atoms, model))
                ids.append(f"{name}-{structure}-{law.name}")
        metafunc.parametrize(("law", "atoms", "random_model"), cases, ids=ids)

    def test_descriptor(self, law: Law, atoms: Atoms, random_model: Callable[[], TermModel]) -> None:
        """One law on one structure."""
        law(random_model(), atoms)


class KernelLaws:
    """Laws of kernels; a subclass defines `kernels`, and `features` where unit vectors will not do."""

    laws: ClassVar[Sequence[KernelLaw]] = KERNEL_LAWS

    def kernels(self) -> Mapping[str, Kernel]:
        """The kernels by name."""
        raise NotImplementedError

    def features(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Features that the kernel is made for, shape (n, D)."""
        x_sd = rng.normal(size=(n, 6))
        return np.asarray(x_sd / np.linalg.norm(x_sd, axis=1)[:, None])

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each kernel and law."""
        if "kernel_law" in metafunc.fixturenames:
            cases = [(law, kernel) for kernel in self.kernels().values() for law in self.laws]
            ids = [f"{name}-{law.__name__}" for name in self.kernels() for law in self.laws]
            metafunc.parametrize(("kernel_law", "kernel"), cases, ids=ids)

    def test_kernel(self, kernel_law: KernelLaw, kernel: Kernel) -> None:
        """One law."""
        rng = np.random.default_rng(0)
        kernel_law(kernel, self.features(12, rng), self.features(7, rng))


class GAPLaws:
    """Laws of a fitted GAP; a subclass defines the fixtures `model` and `frames` (what it was fitted to, with rng=0).

    Inherit from `ModelLaws` as well for the laws of its predictions.
    """

    species: ClassVar[Sequence[str]] = ("Si",)
    gap_laws: ClassVar[Sequence[GAPLaw]] = GAP_LAWS

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each law."""
        if "gap_law" in metafunc.fixturenames:
            metafunc.parametrize("gap_law", self.gap_laws, ids=[law.__name__ for law in self.gap_laws])
        else:
            following: Any = super()
            following.pytest_generate_tests(metafunc)

    def test_gap(self, gap_law: GAPLaw, model: GAP, frames: Sequence[Atoms]) -> None:
        """One law."""
        gap_law(model, frames, self.others())

    def others(self) -> Sequence[Atoms]:
        """Structures that the model has not seen."""
        return list(zoo(self.species, seed=7).values())


def sampled(descriptor: Descriptor, kernel: Kernel, n_points: int = 8, derivative_accuracy: float = 0.0) -> TermModel:
    """A random function of a descriptor's features, with sparse points from a zoo of its species."""
    rng = np.random.default_rng(0)
    structures = environments([chemical_symbols[z] for z in descriptor.species])
    term = sample_term("term", descriptor, kernel, structures, n_points, rng)
    return sample_model([term], rng, derivative_accuracy)


def _cases(
    structures: Mapping[str, Atoms], laws: Sequence[Law], exempt: Collection[str]
) -> list[tuple[Law, str, Atoms]]:
    """Each law with each structure that it says something about."""
    used = [law for law in laws if law.name not in exempt]
    return [(law, name, atoms) for name, atoms in structures.items() for law in used if law.applies(atoms)]


def implementations(package: ModuleType, protocol: type) -> set[type]:
    """All classes of a package that have the methods of a protocol: none can be forgotten in the tests."""
    methods = [name for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"]
    found = set()
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for _, cls in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
            concrete = cls.__module__ == info.name and not getattr(cls, "_is_protocol", False)
            if concrete and all(hasattr(cls, name) for name in methods):
                found.add(cls)
    return found
