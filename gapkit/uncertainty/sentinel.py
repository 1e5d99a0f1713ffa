"""A watch on molecular dynamics and optimisations: what to do when σ passes a limit, or physics breaks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ase import Atoms

from gapkit import GAP, ConfigError, DataError, GAPCalculator, Prediction
from gapkit._check import generator, positive, whole
from gapkit.typing import FloatArray, Rng
from gapkit.uncertainty.estimate import rms
from gapkit.uncertainty.flag import Action, Flag, SentinelStop, read_actions, save_flag
from gapkit.uncertainty.guards import Reading, ShortBonds, driving, name, read_finite, read_force, read_temperature
from gapkit.uncertainty.limits import Limit, read_limit
from gapkit.uncertainty.watch import EXACT, RELEASE, EnergyWatch, ForceWatch


class Sentinel:
    """Watches an ASE dynamics or optimiser: ``Sentinel(calc, "0.15 eV/Å").attach(dyn)``, or ``dyn.attach(sentinel)``.

    Parameters
    ----------
    source
        The `GAPCalculator` of the structure, or a `GAP`, which may watch a run that another calculator drives.
    limit
        Largest calibrated σ: "0.15 eV/Å" of the force on an atom (rms over components), "5 meV/atom" of the energy,
        "auto" from the calibration of the model, None to have the guards alone.
    action
        "record" (in `flags`, always done), "save" (append the frame to `path`, without labels), "stop" (save it and
        raise `SentinelStop`), a function of the `Flag` and the live structure, or several of these.
    every
        Steps between two looks, for `attach`; ``dyn.attach(sentinel, interval=every)`` does the same.
    atoms
        The structure, where neither a calculator nor `attach` can tell it.
    miss_rate
        Of "auto": share of large errors that may go unseen, see `Calibration.limit`.
    path
        Extended XYZ of flagged frames: "reason", "step" … in `info`, "forces_std" (exact) and "extrapolation" per atom.
    shortest_bond
        Nearest distance as a share of the sum of covalent radii, > 0; None for no such guard.
    max_force, max_temperature
        Largest force, eV/Å, and kinetic temperature, K; None for no such guard.
    memory
        Samples over which the estimate of σ averages, ≥ 1.
    rng
        Generator or seed of the samples.

    Attributes
    ----------
    flags
        What was seen. One excursion gives one flag; it is over when 0.7 of the limit is left behind.
    limit
        The limit with its kind, in eV/Å or eV/atom; None without one.

    Raises
    ------
    ConfigError
        A limit without unit, "auto" without calibration, a calculator that is not gapkit's, an unknown action.

    Notes
    -----
    At every look the forces of a posterior sample of the same calculation update an estimate of σ; where it nears the
    limit, the exact calibrated σ decides. Every flag carries the exact one.
    """

    def __init__(
        self,
        source: GAP | GAPCalculator,
        limit: str | None,
        *,
        action: Action | Collection[Action] = "record",
        every: int = 1,
        atoms: Atoms | None = None,
        miss_rate: float = 0.05,
        path: str | Path = "flags.xyz",
        shortest_bond: float | None = 0.5,
        max_force: float | None = 50.0,
        max_temperature: float | None = None,
        memory: float = 10.0,
        rng: Rng = 0,
    ) -> None:
        self._source = source
        self._model, self._calc = _parts(source, atoms)
        self._actions, self._path = read_actions(action), Path(path)
        self.every, random = whole("every", every), generator(rng)
        if positive("memory", memory) < 1.0:
            raise ConfigError(f"memory={memory!r} is less than one sample", fix="give 1 or more, such as 10")
        self._bonds = None if shortest_bond is None else ShortBonds(positive("shortest_bond", shortest_bond))
        self._max_force = None if max_force is None else positive("max_force", max_force, "eV/Å")
        self._max_temperature = None if max_temperature is None else positive("max_temperature", max_temperature, "K")
        self.limit: Limit | None = read_limit(limit, miss_rate, self._model)
        self.flags: list[Flag] = []
        self._watch: ForceWatch | EnergyWatch | None = None
        if self.limit is not None and self.limit.kind == "forces":
            self._watch = ForceWatch(self._model, self.limit.value, memory, random)
        elif self.limit is not None:
            self._watch = EnergyWatch(self._model, self.limit.value)
        self._fixed, self._atoms, self._dynamics = atoms is not None, atoms, None
        self._clock, self._looked_at, self._interval = 0, 0, self.every
        self._above: set[str] = set()
        self._listen()

    def attach(self, dynamics: Any) -> Sentinel:
        """Look at every `every`-th step of an ASE dynamics or optimiser; flags carry its step numbers."""
        atoms = getattr(dynamics, "atoms", None)
        while atoms is not None and not isinstance(atoms, Atoms):  # a cell filter
            atoms = getattr(atoms, "atoms", None)
        if atoms is None or not hasattr(dynamics, "attach"):
            what = f"{type(dynamics).__name__} is no ASE dynamics or optimiser"
            raise ConfigError(what, fix="give Langevin(...), BFGS(...) or the like")
        self._dynamics, self._atoms, self._fixed = dynamics, atoms, True
        self._calc.sampler = None
        _, self._calc = _parts(self._source, atoms)  # a model may drive the run itself
        self._listen()
        dynamics.attach(self, interval=self.every)
        return self

    def _listen(self) -> None:
        self._calc.sampler = self._before
        self._calc.reset()  # the first calculation must tell which structure it is, and may come with a sample

    def __call__(self) -> None:
        """Look at the structure as it is; what ASE calls."""
        atoms = self._atoms
        if atoms is None:
            fix = "give atoms=…, or use sentinel.attach(dynamics)"
            raise ConfigError("the sentinel does not know which structure to look at", fix=fix)
        self._calc.get_property("energy", atoms)  # what the dynamics has computed, or now
        prediction = self._calc.prediction
        if prediction is None:
            raise DataError("the calculator has no prediction of this structure", fix="let no other thread use it")
        if self._looked_at:
            self._interval = max(1, self._clock - self._looked_at)
        self._looked_at = self._clock
        energy, forces_ec = driving(atoms, prediction)
        new = [r for r in self._readings(atoms, prediction, energy, forces_ec) if self._passes(r)]
        for reading in new:
            self._report(reading, atoms, energy)
        if new and "stop" in self._actions:
            flag = self.flags[-len(new)]
            fix = f"label the frame in {self._path} and add it to the fit, or raise the limit"
            raise SentinelStop(flag.message, where=f"step {flag.step}", fix=fix, flag=flag)

    @property
    def exact_evaluations(self) -> int:
        """How often σ was computed exactly; each costs about 30 force calls."""
        return 0 if self._watch is None else self._watch.count

    def _before(self, atoms: Atoms) -> FloatArray | None:
        """Before a calculation: the weights of a sample, if one is due."""
        if not self._fixed:
            self._atoms = atoms
        self._clock += 1
        if not isinstance(self._watch, ForceWatch) or self._clock - self._looked_at < self._interval:
            return None
        return self._watch.weights(self._clock)

    def _readings(self, atoms: Atoms, p: Prediction, energy: float, forces_ec: FloatArray) -> Iterator[Reading]:
        """What all watchers say."""
        finite = read_finite(energy, forces_ec)
        yield finite
        if finite.ratio >= 1.0:
            return
        if self._bonds is not None:
            yield self._bonds.read(atoms)
        if self._max_force is not None:
            yield read_force(atoms, forces_ec, self._max_force)
        if self._max_temperature is not None:
            yield read_temperature(atoms, self._max_temperature)
        if self._watch is not None:
            if isinstance(self._watch, EnergyWatch):
                yield self._watch.read(atoms, self._clock)
            else:
                yield self._watch.read(atoms, p, self._clock, self._watch.kind in self._above)

    def _passes(self, reading: Reading) -> bool:
        """Whether an excursion begins."""
        if reading.ratio < RELEASE:
            self._above.discard(reading.kind)
        elif reading.ratio >= 1.0 and reading.kind not in self._above:
            self._above.add(reading.kind)
            return True
        return False

    def _report(self, reading: Reading, atoms: Atoms, energy: float) -> None:
        """Make a flag of a reading, and do what is to be done."""
        exact = self._exact(reading, atoms)
        std_e = None if exact is None or exact.forces_std is None else rms(exact.forces_std)
        novelty_e = None if exact is None else exact.extrapolation
        atom = reading.atom
        most = atom
        if atom < 0:
            most = 0 if novelty_e is None else int(novelty_e.argmax())
        origin, place = "", ""
        if exact is not None and exact.nearest is not None and novelty_e is not None:
            column = int(exact.nearest[most])
            origin = self._model.origin(column) if column >= 0 else ""
            like = f"; most like {origin}" if origin else ""
            place = f" (extrapolation {novelty_e[most]:.2f} of {name(atoms, most)}{like})"
        flag = Flag(
            step=self._clock - 1 if self._dynamics is None else int(self._dynamics.nsteps),
            kind=reading.kind,
            message=reading.message + place,
            atom=atom,
            symbol=str(atoms.symbols[atom]) if atom >= 0 else "",
            value=reading.value,
            limit=reading.limit,
            unit=reading.unit,
            sigma=float("nan") if std_e is None else float(std_e[atom] if atom >= 0 else std_e.max()),
            extrapolation=float("nan") if novelty_e is None else float(novelty_e[most]),
            nearest=origin,
            energy=energy,
        )
        self.flags.append(flag)
        if {"save", "stop"} & set(self._actions):
            save_flag(self._path, flag, atoms, exact)
        for action in self._actions:
            if callable(action):
                action(flag, atoms)

    def _exact(self, reading: Reading, atoms: Atoms) -> Prediction | None:
        """Exact σ of all force components, or as much as can be had."""
        if reading.kind == "not finite":
            return None
        for want in (EXACT, {"forces", "extrapolation"}):
            try:
                if isinstance(self._watch, ForceWatch) and want is EXACT:
                    return self._watch.exact(atoms, self._clock)
                found: Prediction = self._model.predict(atoms, want)
            except ConfigError:  # more atoms than memory allows
                continue
            return found
        return None


def _parts(source: object, atoms: Atoms | None) -> tuple[GAP, GAPCalculator]:
    """The model, and the calculator whose calculations are watched."""
    if isinstance(source, GAPCalculator):
        return source.model, source
    if isinstance(source, GAP):
        own = None if atoms is None else atoms.calc
        return source, own if isinstance(own, GAPCalculator) and own.model is source else GAPCalculator(source)
    what = f"a Sentinel needs a GAP or a GAPCalculator, not {type(source).__name__}"
    raise ConfigError(what, fix="give Sentinel(GAPCalculator(model), …); with another calculator, Sentinel(model, …)")
