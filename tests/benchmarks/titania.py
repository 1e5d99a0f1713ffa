"""Titania with and without electrostatics: python tests/benchmarks/titania.py --data DIR [--figure FILE.png]

DIR holds tio2/frames.xyz. Four fifths of the frames train models of one setting, without charges, with formal charges
(Ti 4, O -2), and with these times a scale from the data; the rest tests them: once the stoichiometric cells alone, once
all, where cells that lack oxygen share the excess among their atoms. With the former, a slab of rutile (110) of four
trilayers is split into two halves, across the usual neutral plane, and across a plane that leaves one bridging oxygen
per cell on the wrong side, so that the halves are charged.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import surface
from ase.spacegroup import crystal

from gapkit import GAP, ZBL, Coulomb, GapkitWarning, Noise, SoapTerm, evaluate, read_frames

R_CUT = 5.0
GAPS = (1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)  # Å
CHARGES = {"Ti": 4.0, "O": -2.0}


def models(excess: str) -> dict[str, GAP]:
    """Three models that differ in their baselines alone."""
    soap = {"r_cut": R_CUT, "n_max": 8, "l_max": 6, "sigma": 0.4}
    soap["weighting"] = {"function": "poly", "r0": R_CUT, "c": 1.0, "m": 2.0}
    term, noise = SoapTerm(soap, n_sparse=1000), Noise(energy=0.002, forces=0.05)
    charged = {"formal charges": 1.0, "fitted charges": "fit"}
    found = {"no electrostatics": GAP([term], noise, n_jobs=2)}
    for name, scale in charged.items():
        found[name] = GAP([term], noise, baselines=[ZBL(), Coulomb(CHARGES, scale=scale, excess=excess)], n_jobs=2)
    return found


def table_of_errors(fitted: dict[str, GAP], frames: Sequence[Atoms], seconds: dict[str, float]) -> None:
    """Errors on the frames that were kept out."""
    print("| model | charges of Ti, O (e) | energy MAE (meV/atom) | forces MAE (eV/Å) | log evidence | fit (s) |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, model in fitted.items():
        found = evaluate(model, frames)
        if found.energy is None or found.forces is None:
            raise SystemExit("the frames have no energies or no forces")
        scales = [b.get_params()["scale"] for b in model.state_.baselines if isinstance(b, Coulomb)]
        charges = ", ".join(f"{scales[0] * q:.2f}" for q in CHARGES.values()) if scales else "–"
        row = f"{1e3 * found.energy.mae:.2f} | {found.forces.mae:.4f} | {model.log_evidence_:.0f} | {seconds[name]:.0f}"
        print(f"| {name} | {charges} | {row} |", flush=True)


def slabs() -> dict[str, tuple[Atoms, np.ndarray]]:
    """A slab of rutile (110), periodic in its plane, and which of its atoms are pulled away."""
    rutile = crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.65, 4.65, 2.97, 90, 90, 90]
    )
    slab = surface(rutile, (1, 1, 0), 4)
    slab.pbc = (True, True, False)
    z_e = slab.positions[:, 2]
    # heights of the layers, and the stoichiometry below each of the planes between them
    layers = np.unique(z_e.round(2))
    planes = 0.5 * (layers[1:] + layers[:-1])
    charge_e = np.array([CHARGES[s] for s in slab.symbols])
    below = np.array([charge_e[z_e < plane].sum() for plane in planes])
    middle = np.argsort(np.abs(planes - z_e.mean()))
    neutral = next(k for k in middle if abs(below[k]) < 1e-9)
    charged = next(k for k in middle if abs(below[k]) > 1e-9)
    print(f"halves of the charged plane: {below[charged]:+g} and {-below[charged]:+g} e in a cell of the surface\n")
    return {"neutral": (slab, z_e > planes[neutral]), "charged": (slab, z_e > planes[charged])}


def split(slab: Atoms, upper_e: np.ndarray, gap: float) -> Atoms:
    """The slab with its upper part `gap` Å further up."""
    atoms = slab.copy()
    atoms.positions[upper_e, 2] += gap
    return atoms


def table_of_slabs(fitted: dict[str, GAP]) -> dict[str, dict[str, np.ndarray]]:
    """Energy of the split slabs against the distance of their halves, eV per cell of the surface, from the last one."""
    curves: dict[str, dict[str, np.ndarray]] = {}
    for kind, (slab, upper_e) in slabs().items():
        curves[kind] = {}
        print(f"| {kind} halves, gap (Å) | " + " | ".join(f"{gap:g}" for gap in GAPS) + " |")
        print("|---" * (len(GAPS) + 1) + "|")
        for name, model in fitted.items():
            energy = np.array([model.predict(split(slab, upper_e, gap), {"energy"}).energy for gap in GAPS])
            curves[kind][name] = energy - energy[-1]
            print(f"| {name} | " + " | ".join(f"{e:.3f}" for e in curves[kind][name]) + " |")
        print()
    return curves


def draw(curves: dict[str, dict[str, np.ndarray]], path: str) -> None:
    """Both tables as curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    styles = {"no electrostatics": "k--", "formal charges": "C0o-", "fitted charges": "C1s-"}
    for own, (kind, found) in zip(axes, curves.items(), strict=True):
        for name, energy in found.items():
            shown = np.abs(energy[:-1]) if kind == "neutral" else energy[:-1]
            own.plot(GAPS[:-1], shown, styles[name], label=name, markersize=4, linewidth=1.2)
        own.axvline(R_CUT, color="0.6", linewidth=0.8, linestyle=":")
        own.set_title(f"{kind} halves", fontsize=10)
        own.set_xlabel("distance of the halves (Å)")
        own.set_ylabel(("|energy|" if kind == "neutral" else "energy") + " (eV per surface cell)")
    axes[0].set_yscale("log")
    axes[0].set_ylim(1e-4, 10.0)
    axes[0].text(R_CUT - 0.55, 1.5e-4, "cutoff of SOAP", fontsize=8, color="0.4", rotation=90)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def fits(what: str, frames: Sequence[Atoms], excess: str) -> dict[str, GAP]:
    """The models of one set of frames, and their errors."""
    test = set(np.random.default_rng(0).permutation(len(frames))[: len(frames) // 5].tolist())
    train = [atoms for k, atoms in enumerate(frames) if k not in test]
    print(f"{what}: {len(train)} frames to fit, {len(test)} to test\n", flush=True)
    fitted, seconds = models(excess), {}
    for name, model in fitted.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GapkitWarning)  # e0 by least squares: the data have no isolated atoms
            model.fit(train)
        seconds[name] = time.perf_counter() - start
    table_of_errors(fitted, [frames[k] for k in sorted(test)], seconds)
    print()
    return fitted


def main() -> None:
    """Fit, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--figure", default="")
    arguments = parser.parse_args()
    frames = read_frames(arguments.data / "tio2" / "frames.xyz")
    whole = [atoms for atoms in frames if abs(sum(CHARGES[s] for s in atoms.symbols)) < 1e-9]
    fitted = fits("stoichiometric cells", whole, "refuse")
    fits("all cells", frames, "share")
    curves = table_of_slabs(fitted)
    if arguments.figure:
        draw(curves, arguments.figure)


if __name__ == "__main__":
    main()
