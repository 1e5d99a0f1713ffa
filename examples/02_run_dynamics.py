# %% [markdown]
# # Molecular dynamics with a saved model
# A 216-atom cell at 1000 K; energy is conserved, and σ of every local energy comes along.

# %%
import tempfile
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from matplotlib.figure import Figure

from gapkit import GAP, GAPCalculator, Noise, SoapTerm, load, read_frames

here = Path(__file__).parent
train = read_frames(here.parent / "data" / "silicon" / "train.xyz", "::4")
soap = {"r_cut": 5.0, "n_max": 6, "l_max": 5, "sigma": 0.5}
soap["weighting"] = {"function": "poly", "r0": 5.0, "c": 1.0, "m": 1.0}
model = GAP([SoapTerm(soap, n_sparse=200)], Noise(energy=0.001, forces=0.05, stress=None), n_jobs=-1).fit(train)

# %% [markdown]
# A model is one file, without pickles; it predicts bit for bit what was saved.

# %%
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "si.gap")
    atoms = bulk("Si", cubic=True) * (3, 3, 3)
    atoms.calc = GAPCalculator(load(Path(folder) / "si.gap"), std=True)

# %%
spread = np.sqrt(atoms.get_masses() * units.kB * 2000)[:, None]
atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
Stationary(atoms)
dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
times, totals, temperatures, stds = [], [], [], []


def record() -> None:
    """Keep what the figure shows."""
    times.append(dynamics.get_time() / units.fs)
    totals.append(atoms.get_total_energy() / len(atoms) * 1e3)
    temperatures.append(atoms.get_temperature())
    stds.append(atoms.calc.prediction.energies_epistemic_std.max() * 1e3)


dynamics.attach(record, interval=5)
dynamics.run(100)

# %%
drift = np.array(totals) - totals[0]
figure = Figure(figsize=(9, 3.2), layout="constrained")
axes = figure.subplots(1, 3)
panels = {"temperature (K)": temperatures, "total energy (meV/atom)": drift, "largest σ of a local energy (meV)": stds}
for axis, (label, values) in zip(axes, panels.items(), strict=True):
    axis.plot(times, values)
    axis.set(xlabel="time (fs)", ylabel=label)
figure.savefig(here / "figures" / "dynamics.png", dpi=130)

# %% [markdown]
# Newton's equations conserve the total energy.

# %%
assert np.sqrt(np.mean((drift - drift.mean()) ** 2)) < 0.2
