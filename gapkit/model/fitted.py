"""What a fitted model answers: predictions, their standard deviations, residuals, explanations, its file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ase import Atoms

from gapkit._check import generator, memory, threads, whole
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList
from gapkit.errors import ConfigError, nearest, warn
from gapkit.gp.calibration import Calibration
from gapkit.model.archive import write
from gapkit.model.committee import Committee
from gapkit.model.explain import explain
from gapkit.model.explanation import Explanation
from gapkit.model.held_out import Errors, HeldOut, held_out
from gapkit.model.kept import KeptRows
from gapkit.model.left_out import left_out_differences
from gapkit.model.maximizing import EvidenceReport
from gapkit.model.memory import prediction_bytes
from gapkit.model.predict import evaluate, evaluate_many
from gapkit.model.prediction import Prediction, wanted
from gapkit.model.prepared import Prepared
from gapkit.model.residuals import Residuals, leave_one_out, residuals
from gapkit.model.schema import describe
from gapkit.model.scoring import score, scored
from gapkit.model.state import ModelState
from gapkit.model.terms import require_species
from gapkit.typing import FloatArray, Kind, Rng

_F = TypeVar("_F", bound="Fitted")


def _warn_of_raw(state: ModelState, wants: Iterable[Collection[str]]) -> None:
    """Say that σ of the stress is the model's own where that of other labels is calibrated."""
    raw = state.calibration is not None and "stress" not in state.calibration.scales
    if raw and any("stress_std" in want for want in wants):
        what = "stress_std is not calibrated, as other σ of this model are: there was no stress to compare with"
        warn(f"{what}, and it may be too small. Fix: calibrate with frames that have stresses.")


class Fitted(Parametric):
    """The half of `GAP` that needs no data: all that a model answers once it has been fitted or loaded."""

    state_: ModelState
    keys: Keys | None
    n_jobs: int
    max_memory: float | str | None
    _rows: KeptRows | None = None

    def predict(self, atoms: Any, want: Collection[str] | None = None) -> Any:
        """Predict one structure (a `Prediction`) or several (a list of them).

        Parameters
        ----------
        atoms
            `ase.Atoms`, or an iterable of them; never changed.
        want
            Any of energy, energies, forces, stress, energy_std, energies_std, forces_std, stress_std,
            forces_covariance, extrapolation (see `Prediction`). None: energy and forces, and the
            stress of structures with a periodic cell. `by_term` always comes along.

        Raises
        ------
        NotFittedError, SpeciesError, DataError, ConfigError
        """
        keys = self._fitted().keys
        threads(self.n_jobs)
        if isinstance(atoms, Atoms):
            return self.predict_frame(to_frame(atoms, keys=keys, labels=False), want)
        frames = to_frames(atoms, keys=keys, labels=False)
        return list(self.predict_frames(frames, [wanted(want, frame) for frame in frames]))

    def predict_frame(
        self,
        frame: Frame,
        want: Collection[str] | None = None,
        neighbours: NeighbourList | None = None,
        draw_m: FloatArray | None = None,
    ) -> Prediction:
        """Predict a checked structure, with a neighbour list that may be kept from step to step.

        `draw_m` are weights of a posterior sample (`Posterior.sample`), of which ``forces_sample`` is made.
        """
        state, kinds = self._fitted(), wanted(want, frame)
        require_species(state.species, [frame])
        _warn_of_raw(state, [kinds])
        return evaluate(
            state,
            frame,
            kinds,
            neighbours=neighbours,
            n_jobs=self.n_jobs,
            max_memory=prediction_bytes(self.max_memory),
            draw_m=draw_m,
        )

    def predict_frames(self, frames: Sequence[Frame], wants: Sequence[Collection[str]]) -> Iterator[Prediction]:
        """Predict checked structures, what is wanted of each of them, in order."""
        state = self._fitted()
        require_species(state.species, frames)
        _warn_of_raw(state, wants)
        return evaluate_many(state, frames, wants, self.n_jobs, prediction_bytes(self.max_memory))

    def sample(self: _F, n: int, rng: Rng = 0) -> Committee[_F]:
        """n models drawn from the posterior: their spread is what the data leave open of any property.

        It is that of ``*_epistemic_std``: what sparse points and descriptor cannot follow is not in it, which is most
        of the error where data are plenty, and a calibration does not change it.
        """
        return Committee.draw(self, whole("n", n), generator(rng))

    def residuals(self, frames: Iterable[Atoms] | Iterable[Frame]) -> dict[Kind, Residuals]:
        """Errors of labelled structures, and the variances that the model gives them, by kind of label."""
        state, data = self._fitted(), self._labelled(frames)
        require_species(state.species, data)
        return residuals(state, data, self.n_jobs, prediction_bytes(self.max_memory))

    def leave_one_out(self, frames: Iterable[Atoms] | Iterable[Frame], by: str = "frame") -> dict[Kind, Residuals]:
        """Errors and variances of training structures as if each had not been in the fit; no refit is needed.

        Parameters
        ----------
        frames
            Training frames, all or some of them.
        by
            ``frame``: each frame is left out by itself. ``config_type``: all frames of its config_type are,
            which needs the compressed data in the model. Sparse points stay where they are.

        Raises
        ------
        DataError, ConfigError
            A frame that was not in the fit; a model saved without its data; a model of one config_type.
        """
        state = self._fitted()
        if by not in ("frame", "config_type"):
            raise ConfigError(f"leave_one_out by='{by}' does not exist", fix=nearest(by, ("frame", "config_type")))
        return leave_one_out(state, self._labelled(frames), by, self.n_jobs, prediction_bytes(self.max_memory))

    def leave_one_out_errors(
        self, frames: Iterable[Atoms] | Iterable[Frame] | Prepared, together: Sequence[Any] | None = None
    ) -> dict[Kind, Errors]:
        """Mean errors of training structures as if they had not been in the fit, by kind of label; no refit is needed.

        The errors of `leave_one_out` without its variances, which cost several times as much.

        Parameters
        ----------
        frames
            Training frames, all or some of them.
        together
            A label of each frame: frames with the same one are left out together, such as those of one trajectory (see
            `gapkit.trajectories`), which know of one another. None: each frame is left out by itself.

        Raises
        ------
        DataError, ConfigError
            A frame that was not in the fit, labels of another number.
        """
        state = self._fitted()
        data = frames.frames if isinstance(frames, Prepared) else self._labelled(frames)
        known = frames.subtracted if isinstance(frames, Prepared) else None
        found = left_out_differences(state, data, together, self.n_jobs, self._rows, known)
        return {kind: Errors.of(error_n) for kind, error_n in found.items()}

    def held_out(self, frames: Iterable[Atoms] | Iterable[Frame]) -> HeldOut:
        """Labelled structures whose rows are kept: their errors for other noise or δ then take no kernel evaluation.

        Parameters
        ----------
        frames
            Structures that were not in the fit; all their labels are compared, by `gapkit.evaluate`'s rules.

        Raises
        ------
        DataError, SpeciesError, ConfigError
            ConfigError where the rows, 8 bytes per label and sparse point, do not fit into `max_memory`.
        """
        state, data = self._fitted(), self._labelled(frames)
        require_species(state.species, data)
        return held_out(state, data, self.n_jobs, memory("max_memory", self.max_memory))

    def explain(self, atoms: Atoms, atom: int | None = None, n: int = 5) -> Explanation:
        """What the energy of a structure, and that of one of its atoms, is made of, and why σ is what it is.

        Parameters
        ----------
        atoms
            A structure; not changed.
        atom
            Index of the atom to explain. None: the one with the largest σ of its local energy.
        n
            Number of similar sparse environments that are listed, per many-body term.

        Raises
        ------
        NotFittedError, SpeciesError, DataError, ConfigError
            ConfigError for an atom that the structure does not have.
        """
        state = self._fitted()
        frame = to_frame(atoms, keys=state.keys, labels=False)
        require_species(state.species, [frame])
        return explain(state, frame, atom, n, self.n_jobs, prediction_bytes(self.max_memory))

    def origin(self, column: int) -> str:
        """Where a sparse point comes from, such as "train.xyz, frame 12, atom 4 (Si), Vacancy", or "isolated Si atom".

        Columns count through all terms, as in `Prediction.nearest`. Empty where the origin is not known: distances
        of pair terms, points from a file, models that were saved by the first versions of gapkit.
        """
        return self._fitted().origin(column)

    def trained_on(self, frames: Iterable[Atoms] | Iterable[Frame]) -> list[bool]:
        """Which structures, with their labels, were in the fit; they are known again by their numbers."""
        known = {int(number) for number in self._fitted().hashes}
        return [frame.hash in known for frame in to_frames(frames, keys=self.keys or Keys())]

    def _labelled(self, frames: Iterable[Atoms] | Iterable[Frame]) -> list[Frame]:
        return to_frames(frames, keys=self.keys or Keys(), require_labels=True)

    @property
    def calibration_(self) -> Calibration | None:
        """How raw standard deviations become those of predictions; set by `gapkit.uncertainty.calibrate`."""
        return self._fitted().calibration

    @calibration_.setter
    def calibration_(self, calibration: Calibration | None) -> None:
        self.state_ = replace(self._fitted(), calibration=calibration)

    def score(self, frames: Iterable[Atoms], y: Any = None) -> float:
        """Coefficient of determination R², for scikit-learn's searches; 1 is perfect.

        Of the force components; of energies per atom where no frame has forces.
        """
        self._fitted()
        kind, used = scored(self._labelled(frames))
        return score(kind, used, list(self.predict_frames(used, [{kind}] * len(used))))

    def save(self, path: str | os.PathLike[str], *, data: bool = False) -> None:
        """Write one file; with `data`, also the compressed training data that `refit` needs."""
        write(Path(path), *describe(self._fitted(), data=data))

    @property
    def cutoff(self) -> float:
        """Largest cutoff of the terms, Å."""
        return self._fitted().reach

    @property
    def reach(self) -> float:
        """Largest distance at which an atom sees another, Å; infinite with electrostatics, dispersion, a calculator."""
        state = self._fitted()
        return max([state.reach, *(b.reach for b in state.baselines)])

    @property
    def species_(self) -> tuple[int, ...]:
        """Atomic numbers that the model knows."""
        return self._fitted().species

    @property
    def e0_(self) -> Mapping[int, float]:
        """Energies of the isolated atoms by atomic number, eV."""
        return self._fitted().e0

    @property
    def log_evidence_(self) -> float:
        """Log marginal likelihood of the training labels."""
        return self._fitted().posterior.log_evidence

    @property
    def training_(self) -> Mapping[str, Any]:
        """Numbers of training frames and atoms, and the errors of the fit."""
        return self._fitted().training

    @property
    def evidence_(self) -> EvidenceReport | None:
        """What `maximize_evidence` changed; None if the model has not been through it since it was last solved."""
        return EvidenceReport.of(self.training_)

    def _fitted(self) -> ModelState:
        if not hasattr(self, "state_"):
            from gapkit.errors import NotFittedError

            raise NotFittedError(
                "this GAP has not been fitted", fix="call fit(frames), or load a model with gapkit.load"
            )
        state: ModelState = self.state_
        return state
