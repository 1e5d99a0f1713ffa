# %% [markdown]
# # Heating silicon with a model that knows only the cold
# Fitted to strained cells and dynamics of the crystal at 300 K, then heated to 3000 K. The sentinel compares the
# calibrated σ of every force with a limit in eV/Å, and stops. A model of all frames, melts included, shows what the
# true error was.

# %%
import tempfile
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin
from matplotlib.figure import Figure

from gapkit import GAP, GAPCalculator, Noise, SoapTerm, read_frames
from gapkit.uncertainty import Sentinel, SentinelStop, calibrate

here = Path(__file__).parent
frames = read_frames(here.parent / "data" / "silicon" / "train.xyz")
kept = ("Si 2x2x2", "normal structure at 300 K")
cold = [a for a in frames if any(text in a.info["description"] for text in kept)]
soap = {"r_cut": 5.0, "n_max": 6, "l_max": 5, "sigma": 0.5}
soap["weighting"] = {"function": "poly", "r0": 5.0, "c": 1.0, "m": 1.0}


def fit(structures: list) -> GAP:
    """A small model, for an example that runs in a minute."""
    noise = Noise(energy=0.001, forces=0.05, stress=None)
    return GAP([SoapTerm(soap, n_sparse=300)], noise, n_jobs=-1).fit(structures)


model, knows_all = fit(cold), fit(frames[::2])
calibrate(model, cold, leave_one_out=True)
model.n_jobs = knows_all.n_jobs = 1  # 64 atoms: processes would only wait for one another

# %% [markdown]
# Heat by 1.5 K/fs. One flag stops the run; the frame is saved with σ of every atom.

# %%
LIMIT = 0.25  # eV/Å
atoms = bulk("Si", cubic=True) * (2, 2, 2)
atoms.calc = GAPCalculator(model)
bath = {"temperature_K": 300, "friction": 0.02 / units.fs, "fixcm": False, "rng": np.random.default_rng(1)}
dynamics = Langevin(atoms, 1.0 * units.fs, **bath)
times, temperatures, stds, errors = [], [], [], []


def heat() -> None:
    """Raise the temperature of the bath."""
    dynamics.set_temperature(temperature_K=min(3000.0, 300.0 + 1.5 * dynamics.get_time() / units.fs))


def worst(x_ec: np.ndarray) -> float:
    """Largest over the atoms of the rms over components."""
    return float(np.sqrt(np.mean(x_ec**2, axis=1)).max())


def look() -> None:
    """Keep σ and the true error of the forces of the worst atom."""
    times.append(dynamics.get_time() / units.fs)
    temperatures.append(atoms.get_temperature())
    stds.append(worst(model.predict(atoms, {"forces_std"}).forces_std))
    errors.append(worst(atoms.get_forces() - knows_all.predict(atoms, {"forces"}).forces))


dynamics.attach(heat)
dynamics.attach(look, interval=25)
with tempfile.TemporaryDirectory() as folder:
    sentinel = Sentinel(atoms.calc, f"{LIMIT} eV/Å", action=["save", "stop"], path=Path(folder) / "flags.xyz")
    sentinel.attach(dynamics)
    try:
        dynamics.run(2500)
    except SentinelStop as stop:
        print(stop)
    saved = read_frames(Path(folder) / "flags.xyz")
flag = sentinel.flags[0]

# %% [markdown]
# What would have happened without it: the same run goes on.

# %%
stopped = dynamics.get_time() / units.fs
atoms.calc = GAPCalculator(model)
dynamics.observers = [o for o in dynamics.observers if getattr(o[0], "__self__", o[0]) is not sentinel]
dynamics.run(2500 - round(stopped))

# %%
figure = Figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=[2, 1])
left.semilogy(times[1:], errors[1:], color="#D55E00", label="true error of the worst atom")
left.semilogy(times[1:], stds[1:], color="#0072B2", label="calibrated σ of the least certain atom")
left.axhline(LIMIT, color="0.5", linewidth=0.9, linestyle=":")
left.text(0.0, LIMIT, "limit", va="bottom", color="0.4")
left.set(xlabel="time (fs)", ylabel="force (eV/Å, rms over x, y, z)", ylim=(0.03, 3.0))
left.legend(frameon=True, framealpha=1.0, edgecolor="none", loc="upper left")
right.plot(times, temperatures, color="0.3")
right.set(xlabel="time (fs)", ylabel="temperature (K)")
for axis in (left, right):
    axis.axvline(stopped, color="0.2", linewidth=0.9, linestyle="--")
    axis.axvspan(stopped, times[-1], color="0.93", zorder=0)
left.text(stopped, 0.035, " flag: the run stops here", color="0.2")
figure.savefig(here / "figures" / "heating.png", dpi=130)

# %% [markdown]
# The run was stopped while the potential was still a potential; a crystal that melts is beyond it.

# %%
before = np.array(times) <= stopped
assert len(sentinel.flags) == len(saved) == 1
assert flag.sigma > LIMIT
assert max(np.array(errors)[before]) < 4.0 * LIMIT
assert np.median(np.array(errors)[~before]) > 2.0 * np.median(np.array(errors)[before])
