"""The model a user holds: settings, fit, prediction and file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from gapkit._check import generator, memory, threads, whole
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.isolated import isolated_energies
from gapkit.errors import ConfigError, nearest
from gapkit.gp.calibration import Calibration
from gapkit.gp.evidence import learn_scale
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import UNSOLVED
from gapkit.model.archive import damaged, read, write
from gapkit.model.committee import Committee
from gapkit.model.defaults import default_terms
from gapkit.model.explain import explain
from gapkit.model.explanation import Explanation
from gapkit.model.fitting import compress, left_out, prior_factor, require_kinds
from gapkit.model.memory import pool_bytes, prediction_bytes
from gapkit.model.predict import evaluate, evaluate_many
from gapkit.model.prediction import Prediction, wanted
from gapkit.model.residuals import Residuals, leave_one_out, residuals
from gapkit.model.schema import build, describe
from gapkit.model.scoring import score, scored
from gapkit.model.settings import check_settings, checked_noise, name_of, warn_of_groups
from gapkit.model.state import ModelState, solved, sources_of
from gapkit.model.terms import Term, require_species, species_of
from gapkit.typing import KINDS, FloatArray, Kind, Rng


class GAP(Parametric):
    """Gaussian Approximation Potential.

    Parameters
    ----------
    terms
        `SoapTerm`s and `PairTerm`s whose energies add up. None: chosen from the data.
    noise
        σ of the labels. None: `Noise()` times a factor learned from the data (evidence).
    e0
        {symbol: energy of the isolated atom, eV}. None: from single-atom frames, else by least
        squares with a warning.
    keys
        Names of the labels in `info` and `arrays`. None: the usual names.
    n_jobs
        Cores; -1 for all. Threads over structures in a fit; processes, which stay for the next call,
        over structures or over blocks of atoms in a prediction. Results do not depend on it.
    max_memory
        Ceiling on the memory of a fit or a prediction beside structures and model, as text ('2GB') or
        in bytes; block sizes obey it. BLAS and the allocator keep up to 60 MB per thread beside it.
        None: as much as is useful, which does not grow with the data.

    Attributes
    ----------
    state_
        All that was learned; `e0_`, `species_`, `log_evidence_` and `training_` are views of it.
    """

    def __init__(
        self,
        terms: Sequence[Term] | None = None,
        noise: Noise | None = None,
        *,
        e0: Mapping[str | int, float] | None = None,
        keys: Keys | None = None,
        n_jobs: int = 1,
        max_memory: float | str | None = None,
    ) -> None:
        self.terms = terms
        self.noise = noise
        self.e0 = e0
        self.keys = keys
        self.n_jobs = n_jobs
        self.max_memory = max_memory

    def fit(self, frames: Iterable[Atoms] | Iterable[Frame], y: Any = None, *, rng: Rng = 0) -> GAP:
        """Fit to labelled structures.

        Parameters
        ----------
        frames
            Structures with labels; they are not changed. Missing labels are fine. Also a list of
            `Frame`, whose labels are taken as they are.
        y
            Ignored; there for scikit-learn.
        rng
            Generator or seed of the choice of sparse points.

        Raises
        ------
        DataError, SpeciesError, ConfigError
            With the frame, the atom and the fix.
        """
        noise = checked_noise(self.noise)
        check_settings(self.terms, self.e0, self.keys, self.n_jobs, self.max_memory)
        data = self._labelled(frames)
        warn_of_groups(noise, {f.group for f in data})
        random = generator(rng)
        known = species_of(data)  # an energy given for another element does not make the model know it
        e0 = {z: e for z, e in isolated_energies(data, self.e0).items() if z in known}
        terms = default_terms(data) if self.terms is None else list(self.terms)
        if not terms:
            raise ConfigError("the model has no terms", fix="give SoapTerm or PairTerm, or terms=None for defaults")
        ceiling = memory("max_memory", self.max_memory)
        pool = pool_bytes(ceiling)
        chosen = [term.choose(name_of(term, k), data, random, pool, self.n_jobs) for k, term in enumerate(terms)]
        kinds = {k for k in KINDS for group in {f.group for f in data} if noise.sigma(group, k) is not None}
        rows = compress(data, chosen, e0, kinds, noise, self.n_jobs, ceiling)
        prior_mm = prior_factor(chosen)
        if self.noise is None:
            noise = learn_scale(prior_mm, rows, noise)
        self.state_ = solved(
            ModelState(
                settings=deepcopy(terms),
                terms=chosen,
                noise=noise,
                e0=e0,
                prior_mm=prior_mm,
                posterior=UNSOLVED,
                rows=rows,
                hashes=np.array([f.hash for f in data], dtype=np.uint64),
                training={
                    "frames": len(data),
                    "atoms": sum(f.n_atoms for f in data),
                    "left_out": left_out(data, noise),
                },
                sources=sources_of(data, chosen),
            )
        )
        return self

    def refit(self, noise: Noise | None = None) -> GAP:
        """Solve again with other noise; no kernel is evaluated and the structures are not needed.

        A calibration belongs to the old noise and is dropped.

        Raises
        ------
        ConfigError
            If the model was saved without its compressed data, or a kind was not in the fit.
        """
        state = self._fitted()
        if state.rows is None:
            raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
        wanted = state.noise if noise is None and self.noise is None else checked_noise(noise, self.noise)
        require_kinds(state.training["left_out"], wanted)
        self.state_ = solved(replace(state, noise=wanted, calibration=None))
        self.noise = self.noise if noise is None else noise
        return self

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
        self._fitted()
        threads(self.n_jobs)
        if isinstance(atoms, Atoms):
            return self.predict_frame(to_frame(atoms, labels=False), want)
        frames = to_frames(atoms, labels=False)
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
        state = self._fitted()
        require_species(state.species, [frame])
        return evaluate(
            state,
            frame,
            wanted(want, frame),
            neighbours=neighbours,
            n_jobs=self.n_jobs,
            max_memory=prediction_bytes(self.max_memory),
            draw_m=draw_m,
        )

    def predict_frames(self, frames: Sequence[Frame], wants: Sequence[Collection[str]]) -> Iterator[Prediction]:
        """Predict checked structures, what is wanted of each of them, in order."""
        state = self._fitted()
        require_species(state.species, frames)
        return evaluate_many(state, frames, wants, self.n_jobs, prediction_bytes(self.max_memory))

    def sample(self, n: int, rng: Rng = 0) -> Committee[GAP]:
        """n models drawn from the posterior, whose spread is that of the model itself: error bars on any property."""
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
        state, frame = self._fitted(), to_frame(atoms, labels=False)
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

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GAP:
        """Read a model file; it predicts bit for bit what the saved model predicted.

        Raises
        ------
        ModelFileError
            The file is missing, no model, damaged, truncated, or written by a newer gapkit.
        """
        document, arrays = read(Path(path))
        try:
            state = build(document, arrays)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise damaged(Path(path), error) from error
        model = cls(list(state.settings), state.noise)
        model.state_ = state
        return model

    @property
    def reach(self) -> float:
        """Largest distance at which an atom sees another, Å."""
        return self._fitted().reach

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

    def _fitted(self) -> ModelState:
        if not hasattr(self, "state_"):
            from gapkit.errors import NotFittedError

            raise NotFittedError(
                "this GAP has not been fitted", fix="call fit(frames), or load a model with gapkit.load"
            )
        state: ModelState = self.state_
        return state
