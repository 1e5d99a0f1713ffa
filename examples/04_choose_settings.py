# %% [markdown]
# # How many frames and sparse points, and what σ?
# Silicon is split by molecular-dynamics runs, and the errors of the held-out frames are followed.

# %%
from pathlib import Path

from gapkit import GAP, Noise, PairTerm, SoapTerm, read_frames, split, trajectories
from gapkit.tuning import learning_curve, pareto

here = Path(__file__).parent
frames = read_frames(here.parent / "data" / "silicon" / "train.xyz")

# %% [markdown]
# Snapshots of one crystal are relatives; those of the hot liquid have forgotten each other. A run that is larger than
# a fifth of its config_type is cut into blocks in the order of time, with a warning.

# %%
label = trajectories(frames)
for name in dict.fromkeys(atoms.info["config_type"] for atoms in frames):
    own = [label[s] for s, atoms in enumerate(frames) if atoms.info["config_type"] == name]
    largest = max(own.count(one) for one in own)
    print(f"{name}: {len(own)} frames of {len(set(own))} trajectories, the largest of {largest}")
train, validation = split(frames, fraction=0.2, rng=0)

# %% [markdown]
# The learning curve. Fewer sparse points are cut out of the fit on all frames: no kernel is evaluated for them.

# %%
soap = {"r_cut": 5.4, "n_max": 6, "l_max": 6, "sigma": 0.5}
soap["weighting"] = {"function": "poly", "r0": 5.4, "c": 1.0, "m": 1.0}
model = GAP(
    terms=[PairTerm(r_cut=5.4), SoapTerm(soap, zeta=4, n_sparse=500)],
    noise=Noise(energy=0.001, forces=0.05, stress=0.02),
    n_jobs=-1,
)
curve = learning_curve(model, train, frames_test=validation)
print(curve)
curve.plot(here / "figures" / "learning_curve.png")

# %% [markdown]
# With 500 sparse points the last two doublings of the frames leave the forces where they are; sparse points are what
# limits them. Energies still gain from more frames.

# %%
for kind in curve.kinds:
    print(f"{kind}: twice the frames, {2 ** curve.exponent(kind):.2f} times the error")
assert curve.exponent("energy") < -0.15
assert abs(curve.exponent("forces")) < 0.1
assert curve.by_sparse[-1].rmse["forces"] < 0.96 * curve.by_sparse[-2].rmse["forces"]

# %% [markdown]
# σ of energies, forces and stresses are their weights in the fit. Each model of the scan is a re-solve.

# %%
front = pareto(model.fit(train), validation, grid=100)
print(front.verdict)
front.plot(here / "figures" / "pareto.png")
chosen, start = front.best(), front.points[0]
print(chosen.noise, chosen.values)

# %%
assert len(front.front) > 2
assert all(chosen.values[kind] <= 1.05 * start.values[kind] for kind in ("energy", "forces"))
