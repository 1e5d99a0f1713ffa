"""`gapkit md`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from tqdm import tqdm

from gapkit import GAP, ConfigError, GAPCalculator, load, read_frames
from gapkit.cli.output import require_writable
from gapkit.cli.report import counted
from gapkit.cli.restart import drop_rest, last_frame
from gapkit.errors import warn
from gapkit.uncertainty import Flag, Sentinel, SentinelStop
from gapkit.uncertainty.flag import append_frame, bare
from gapkit.uncertainty.limits import with_unit

STOPPED = 3
"""Exit status of a run that the sentinel stopped."""

INTERRUPTED = 130


def run(arguments: argparse.Namespace) -> int:
    """Molecular dynamics that flags what the model does not know."""
    output = Path(arguments.output)
    flags = output.with_suffix(f".flags{output.suffix}")
    for path in (output, flags):
        require_writable(path, inputs=[Path(arguments.model), Path(arguments.start)])
    if output.suffix.lower() not in (".xyz", ".extxyz"):
        raise ConfigError("the trajectory is extended XYZ", where=str(output), fix="give a name that ends in .xyz")
    for path in (output, flags):
        if path.exists() and not arguments.restart:
            fix = "continue the run with --restart, or give another name"
            raise ConfigError("the file exists already", where=str(path), fix=fix)
    if (limit := _in_words(arguments.flag)) not in (None, "auto"):
        with_unit(limit)  # what is wrong shall be said before anything is read
    model = load(arguments.model)
    model.n_jobs = arguments.jobs
    atoms, step = _start(arguments, output)
    if step >= arguments.steps:
        print(f"{output} has {step} steps already: nothing to do")
        return 0
    guessed = sorted(chemical_symbols[z] for z in set(model.state_.guessed) & set(atoms.numbers.tolist()))
    if names := ", ".join(guessed):
        what = f"e0 of {names} is of no isolated atom: atoms that leave the others gain energy or lose none."
        warn(f"{what} Fix: fit with frames of isolated atoms.")
    atoms.calc = GAPCalculator(model)
    timestep = arguments.timestep or (0.5 if 1 in atoms.numbers else 1.0)
    sentinel = Sentinel(
        atoms.calc,
        _limit(arguments.flag, model),
        action=[_tell, *([arguments.action] if arguments.action != "record" else [])],
        every=arguments.every,
        miss_rate=arguments.miss_rate,
        path=flags,
        max_temperature=arguments.max_temperature,
        rng=np.random.default_rng([arguments.seed, step, 1]),
    )
    drop_rest(output, flags)
    print(_heading(arguments, atoms, sentinel, step, timestep), flush=True)
    return _Run(_dynamics(arguments, atoms, step, timestep), output, step).go(arguments, sentinel, flags)


class _Run:
    """A dynamics whose frames go to a file.

    Parameters
    ----------
    dynamics
        Of ASE, with all settings.
    output
        Extended XYZ that frames are added to.
    step
        Number of the step that it starts from; the frame of a step other than 0 is in the file.
    """

    def __init__(self, dynamics: Any, output: Path, step: int) -> None:
        self._dynamics, self._output, self._frames = dynamics, output, 0
        self._written = step if step else -1
        dynamics.nsteps = step

    def write(self) -> None:
        """Add the structure as it is, unless it was the last one to be added."""
        step, atoms = self._dynamics.nsteps, self._dynamics.atoms
        if step == self._written:
            return
        frame = bare(atoms)
        frame.info["step"] = step
        results = {key: atoms.calc.results[key] for key in ("energy", "forces", "stress") if key in atoms.calc.results}
        frame.calc = SinglePointCalculator(frame, **results)
        try:
            append_frame(self._output, frame)
        except OSError as error:
            what = f"the frame of step {step} cannot be written: {error.strerror or error}"
            raise ConfigError(what, where=str(self._output), fix="make room, then continue with --restart") from error
        self._written, self._frames = step, self._frames + 1

    def go(self, arguments: argparse.Namespace, sentinel: Sentinel, flags: Path) -> int:
        """Run to the last step; the exit status."""
        dynamics, status, end = self._dynamics, 0, "done"
        step = dynamics.nsteps
        dynamics.attach(self.write, interval=arguments.interval)
        sentinel.attach(dynamics)
        with tqdm(total=arguments.steps, initial=step, unit="step", disable=not sys.stderr.isatty()) as bar:
            dynamics.attach(lambda: bar.update(dynamics.nsteps - bar.n), interval=1)
            try:
                dynamics.run(arguments.steps - step)
                self.write()
            except SentinelStop:
                self.write()
                status, end = STOPPED, "stopped by the flag"
            except KeyboardInterrupt:  # perhaps within a step: the file ends with its last frame
                status, end = INTERRUPTED, "interrupted (--restart continues)"
        kept = f", {flags}" if sentinel.flags and arguments.action != "record" else ""
        print(
            f"{end} at step {dynamics.nsteps}: {counted(self._frames, 'frame')} written to {self._output}, "
            f"{counted(len(sentinel.flags), 'flag')}{kept}",
            file=sys.stderr if status else sys.stdout,
            flush=True,
        )
        return status


def _start(arguments: argparse.Namespace, output: Path) -> tuple[Atoms, int]:
    """The structure to start from, with momenta, and its step."""
    given = read_frames(arguments.start, -1)[0]
    atoms = bare(given)
    atoms.set_constraint(given.constraints)
    if output.exists():
        last, step = last_frame(output, atoms, arguments.start)
        atoms.set_cell(last.cell)
        atoms.pbc = last.pbc
        atoms.set_positions(last.positions, apply_constraint=False)
        atoms.set_momenta(last.get_momenta(), apply_constraint=False)
        return atoms, step
    if not atoms.get_momenta().any():
        _thermalise(atoms, arguments.temperature, np.random.default_rng([arguments.seed, 0, 2]))
    return atoms, 0


def _thermalise(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Momenta of this temperature, K, that leave a free structure where it is."""
    spread_e = np.sqrt(atoms.get_masses() * units.kB * temperature)
    momenta_ec = rng.standard_normal((len(atoms), 3)) * spread_e[:, None]
    if len(atoms) > 1 and not atoms.constraints:
        momenta_ec -= momenta_ec.sum(axis=0) * (atoms.get_masses() / atoms.get_masses().sum())[:, None]
    atoms.set_momenta(momenta_ec)


def _dynamics(arguments: argparse.Namespace, atoms: Atoms, step: int, timestep: float) -> Any:
    """The dynamics of ASE; the random numbers of a thermostat follow from the seed and the step it starts from."""
    from ase.md.langevin import Langevin  # slow to load
    from ase.md.verlet import VelocityVerlet

    if arguments.thermostat == "nve":
        return VelocityVerlet(atoms, timestep * units.fs)
    return Langevin(
        atoms,
        timestep * units.fs,
        temperature_K=arguments.temperature,
        friction=arguments.friction / units.fs,
        fixcm=False,
        rng=np.random.default_rng([arguments.seed, step, 0]),
    )


def _limit(flag: str | None, model: GAP) -> str | None:
    """The limit that `--flag` means for a model."""
    if flag is None:
        return None if model.calibration_ is None or "forces" not in model.calibration_.scales else "auto"
    return _in_words(flag)


def _in_words(flag: str | None) -> str | None:
    """The limit as `Sentinel` takes it: a bare number is in eV/Å."""
    if flag is None or flag.lower() == "none":
        return None
    try:
        float(flag)
    except ValueError:
        return flag
    return f"{flag} eV/Å"


def _heading(arguments: argparse.Namespace, atoms: Atoms, sentinel: Sentinel, step: int, timestep: float) -> str:
    """What is about to be done."""
    bath = "constant energy" if arguments.thermostat == "nve" else f"Langevin at {arguments.temperature:g} K"
    begin = f"continued from step {step}" if step else f"from {arguments.start}"
    light = ", since there is hydrogen" if arguments.timestep is None and 1 in atoms.numbers else ""
    watched = "σ is not watched"
    if sentinel.limit is not None:
        kind, value = sentinel.limit
        watched = f"flags where σ of the {kind} exceeds {value:.3g} {sentinel.limit.unit}"
    return (
        f"{len(atoms)} atoms, {atoms.get_chemical_formula()}, {begin}\n"
        f"{bath}, {arguments.steps} steps of {timestep:g} fs{light}; {watched}"
    )


def _tell(flag: Flag, _: Atoms) -> None:
    tqdm.write(f"step {flag.step}: {flag.message}")
