# %% [markdown]
# # Fit silicon to DFT and test it
# Energies, forces and stresses of 72 PBE frames: dynamics, vacancies, strained cells, surfaces.

# %%
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from matplotlib.figure import Figure

from gapkit import GAP, GAPCalculator, Noise, PairTerm, SoapTerm, evaluate, read_frames

here = Path(__file__).parent
train = read_frames(here.parent / "data" / "silicon" / "train.xyz", "::3")
test = read_frames(here.parent / "data" / "silicon" / "test.xyz")

# %% [markdown]
# SOAP takes dscribe's own arguments. With `poly` weighting up to r_cut, forces are continuous.

# %%
soap = {"r_cut": 5.0, "n_max": 6, "l_max": 6, "sigma": 0.5}
soap["weighting"] = {"function": "poly", "r0": 5.0, "c": 1.0, "m": 1.0}
model = GAP(
    terms=[PairTerm(r_cut=5.0), SoapTerm(soap, zeta=4, n_sparse=300)],
    noise=Noise(energy=0.001, forces=0.05, stress=0.02),
    n_jobs=-1,
)
model.fit(train, rng=0)

# %%
errors = evaluate(model, test)
print(f"energy {1e3 * errors.energy.mae:.1f} meV/atom, forces {errors.forces.mae:.3f} eV/Å")

# %% [markdown]
# The relaxed crystal and its equation of state.

# %%
crystal = bulk("Si", cubic=True)
crystal.calc = GAPCalculator(model)
BFGS(FrechetCellFilter(crystal), logfile=None).run(fmax=0.005, steps=50)
lattice_constant = crystal.cell.lengths().mean()

strains = np.linspace(-0.02, 0.02, 9)
volumes, energies, pressures = [], [], []
for strain in strains:
    strained = crystal.copy()
    strained.set_cell(crystal.cell * (1 + strain), scale_atoms=True)
    prediction = model.predict(strained)
    volumes.append(strained.get_volume() / len(strained))
    energies.append(prediction.energy / len(strained))
    pressures.append(-prediction.stress[:3].mean() / GPa)
slope = np.polyfit(volumes, pressures, 3)
bulk_modulus = -np.polyval(np.polyder(slope), crystal.get_volume() / 8) * crystal.get_volume() / 8
print(f"a = {lattice_constant:.3f} Å, B = {bulk_modulus:.0f} GPa")

# %%
figure = Figure(figsize=(9, 4), layout="constrained")
left, right = figure.subplots(1, 2)
for name, part in errors.by_group.items():
    left.plot(part.forces.true_n, part.forces.predicted_n, ".", ms=2, alpha=0.5, label=name, rasterized=True)
span = [errors.forces.true_n.min(), errors.forces.true_n.max()]
left.plot(span, span, "k-", lw=0.8)
left.set(xlabel="DFT force (eV/Å)", ylabel="predicted force (eV/Å)")
left.set(title=f"held-out frames, MAE {errors.forces.mae:.3f} eV/Å")
left.legend(markerscale=4, frameon=False)
left.set_aspect("equal")
right.plot(volumes, (np.array(energies) - min(energies)) * 1e3, "o-")
right.set(xlabel="volume (Å³/atom)", ylabel="energy (meV/atom)")
right.set(title=f"a = {lattice_constant:.3f} Å, B = {bulk_modulus:.0f} GPa (PBE: 5.47 Å, 88 GPa)")
figure.savefig(here / "figures" / "silicon.png", dpi=130)

# %% [markdown]
# PBE silicon: a = 5.47 Å and B = 88 GPa.

# %%
assert abs(lattice_constant - 5.47) < 0.02
assert abs(bulk_modulus - 88) < 9
