"""A fit that both sides do: its data and settings, in gapkit's terms and in gap_fit's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SILICON = Path(__file__).parents[3] / "data" / "silicon"


@dataclass(frozen=True)
class Task:
    """Energies and forces of the frames in `xyz`, one SOAP term.

    Attributes
    ----------
    name
        For messages and files.
    xyz
        Text of the training file. Neither side must find labels of stress there.
    n_max, l_max, sigma, r_cut, zeta
        SOAP and its kernel.
    n_sparse
        Number of sparse points, or one for each element.
    sigmas
        σ of energies (eV/atom) and force components (eV/Å).
    e0
        Energies of isolated atoms, eV; empty: what each code does by default.
    """

    name: str
    xyz: str
    n_max: int
    l_max: int
    sigma: float
    r_cut: float
    zeta: int
    n_sparse: int | dict[str, int]
    sigmas: tuple[float, float]
    e0: Mapping[str, float] = field(default_factory=dict)

    @property
    def m(self) -> int:
        """Number M of sparse points of all elements."""
        return self.n_sparse if isinstance(self.n_sparse, int) else sum(self.n_sparse.values())

    def gapkit(self) -> dict[str, Any]:
        """Arguments of `fit` in children/gapkit_side.py."""
        soap = {"r_cut": self.r_cut, "n_max": self.n_max, "l_max": self.l_max, "sigma": self.sigma}
        weighting = {"function": "poly", "r0": self.r_cut, "c": 1.0, "m": 1.0}
        return {
            "soap": {**soap, "weighting": weighting},
            "zeta": self.zeta,
            "n_sparse": self.n_sparse,
            "sigmas": self.sigmas,
            "e0": dict(self.e0) or None,
        }

    def gap_fit(self) -> list[str]:
        """Arguments of gap_fit, which reads train.xyz and writes gp.xml."""
        sigma_e, sigma_f = self.sigmas
        isolated = ":".join(f"{symbol}:{energy!r}" for symbol, energy in self.e0.items())
        return [
            "at_file=train.xyz",
            f"gap={{{' : '.join(self._soaps())}}}",
            f"default_sigma={{{sigma_e} {sigma_f} 0.05 0.0}}",
            f"e0={{{isolated}}}" if isolated else "e0_method=average",
            "energy_parameter_name=energy",
            "force_parameter_name=forces",
            "virial_parameter_name=none",
            "stress_parameter_name=none",
            "sparse_jitter=1e-8",
            "do_copy_at_file=F",
            "sparse_separate_file=T",
            "gp_file=gp.xml",
        ]

    def _soaps(self) -> list[str]:
        """One descriptor, or one for each central element with a number of sparse points of its own."""
        shared = (
            f"soap l_max={self.l_max} n_max={self.n_max} atom_sigma={self.sigma} zeta={self.zeta} "
            f"cutoff={self.r_cut} cutoff_transition_width=0.5 delta=1.0 f0=0.0 "
            "covariance_type=dot_product sparse_method=cur_points"
        )
        if isinstance(self.n_sparse, int):
            return [f"{shared} n_sparse={self.n_sparse}"]
        numbers = {symbol: ATOMIC_NUMBERS[symbol] for symbol in sorted(self.n_sparse, key=ATOMIC_NUMBERS.__getitem__)}
        species = f"n_species={len(numbers)} species_Z={{{{{' '.join(map(str, numbers.values()))}}}}} add_species=F"
        return [f"{shared} n_sparse={self.n_sparse[s]} n_Z=1 Z={z} {species}" for s, z in numbers.items()]


ATOMIC_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "Si": 14}


def xyz_frames(path: Path) -> list[str]:
    """Text of every frame of an extended XYZ file, without labels of stress."""
    lines = path.read_text().splitlines(keepends=True)
    frames = []
    while lines:
        n = int(lines[0]) + 2
        # under its own name gap_fit would find the stress
        frames.append("".join([lines[0], lines[1].replace(" stress=", " unused="), *lines[2:n]]))
        lines = lines[n:]
    return frames


def evenly(items: list[str], n: int | None) -> list[str]:
    """n of the items, evenly taken, or all of them."""
    if n is None or n >= len(items):
        return items
    return [items[round(k * (len(items) - 1) / max(1, n - 1))] for k in range(n)]


def isolated_energies(path: Path) -> dict[str, float]:
    """Energies of a file of isolated atoms, eV by symbol."""
    energies = {}
    for frame in xyz_frames(path):
        found = re.search(r"\benergy=(\S+)", frame)
        assert found is not None
        energies[frame.splitlines()[2].split()[0]] = float(found[1])
    return energies


def silicon(n_frames: int | None = None, n: int = 8, m: int = 1000) -> Task:
    """The fit to data/silicon that figures of the README speak of."""
    frames = evenly(xyz_frames(SILICON / "train.xyz"), n_frames)
    return Task("silicon", "".join(frames), n, n, 0.5, 5.4, 4, m, (0.0005, 0.1))
