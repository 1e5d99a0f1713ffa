"""`gapkit predict`."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from ase import Atoms
from tqdm import tqdm

from gapkit import ConfigError, Prediction, load, read_frames
from gapkit.atoms.labels import to_frames
from gapkit.cli.output import require_writable, size_of, write_whole
from gapkit.cli.plan import default_jobs
from gapkit.cli.report import counted
from gapkit.model.prediction import has_stress

_STD = ("energy_std", "forces_std", "stress_std", "extrapolation")
_OF_ATOMS = ("forces", "forces_std", "extrapolation")


def run(arguments: argparse.Namespace) -> None:
    """Write energies, forces and stresses of structures to a file."""
    output = Path(arguments.output)
    require_writable(output, inputs=[Path(arguments.model), Path(arguments.frames)])
    if output.suffix.lower() not in (".xyz", ".extxyz"):
        raise ConfigError("predictions are extended XYZ", where=str(output), fix="give a name that ends in .xyz")
    model = load(arguments.model)
    model.n_jobs = arguments.jobs or default_jobs()
    structures = read_frames(arguments.frames)
    frames = to_frames(structures, keys=model.state_.keys, where=arguments.frames, labels=False)
    names = ("energy", "forces", "stress", *(_STD if arguments.std else ()))
    wants = [{n for n in names if not n.startswith("stress") or has_stress(frame)} for frame in frames]
    found = model.predict_frames(frames, wants)
    bar = tqdm(structures, desc="predict", unit="frame", disable=None)
    written = [_with(atoms, next(found), want) for atoms, want in zip(bar, wants, strict=True)]
    write_whole(output, _text(written))
    print(f"wrote {output} ({counted(len(written), 'frame')}, {size_of(output)})", flush=True)


def _with(atoms: Atoms, prediction: Prediction, want: set[str]) -> Atoms:
    """The structure as it was read, its labels included, and what the model says under names that are no labels."""
    for name in sorted(want):
        shelf = atoms.arrays if name in _OF_ATOMS else atoms.info
        shelf[f"gapkit_{name}"] = getattr(prediction, name)
    return atoms


def _text(structures: list[Atoms]) -> bytes:
    """Extended XYZ."""
    from ase.io import write  # slow to load, like all readers and writers

    text = io.StringIO()
    write(text, structures, format="extxyz")
    return text.getvalue().encode()
