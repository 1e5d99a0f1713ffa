"""Errors of a model over labelled structures: overall, per config_type, and value by value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.atoms.labels import to_frames
from gapkit.baselines.isolated import reference_energy
from gapkit.errors import ConfigError
from gapkit.model.fitted import Fitted
from gapkit.model.gap import GAP
from gapkit.model.prediction import Prediction
from gapkit.model.terms import require_species
from gapkit.typing import KINDS, FloatArray, Kind
from gapkit.units import GPA, REPORTED


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Labels of one kind and what the model says about them, in the order of the frames.

    Attributes
    ----------
    true_n, predicted_n
        Shape (n,). Energy: eV/atom, relative to the isolated atoms of the model (e0). Forces:
        every Cartesian component, eV/Å. Stress: the six Voigt components, GPa.
    """

    true_n: FloatArray
    predicted_n: FloatArray

    def __repr__(self) -> str:
        """The errors in one line."""
        return f"<Comparison of {len(self.true_n)} values; MAE {self.mae:.3g}, RMSE {self.rmse:.3g}>"

    @property
    def mae(self) -> float:
        """Mean absolute error, in the unit of the values."""
        return float(np.abs(self.predicted_n - self.true_n).mean())

    @property
    def rmse(self) -> float:
        """Root mean square error, in the unit of the values."""
        return float(np.sqrt(np.square(self.predicted_n - self.true_n).mean()))


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Errors of a model over labelled structures.

    Attributes
    ----------
    frames, atoms
        Number of structures and of atoms, those without labels included.
    energy, forces, stress
        `Comparison` of each kind; None if no structure has the label.
    by_group
        {config_type: Evaluation}, sorted by name; empty in those evaluations themselves.
    """

    frames: int
    atoms: int
    energy: Comparison | None = None
    forces: Comparison | None = None
    stress: Comparison | None = None
    by_group: Mapping[str, Evaluation] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The root mean square errors in one line: the values themselves would fill pages."""
        parts = [
            f"{kind} {unit.of_evaluation * values.rmse:.3g} {unit.text}"
            for kind, unit in REPORTED.items()
            if (values := self.comparison(kind)) is not None
        ]
        groups = f", {len(self.by_group)} config_types" if len(self.by_group) > 1 else ""
        return (
            f"<Evaluation of {self.frames} frames, {self.atoms} atoms{groups}; RMSE: {', '.join(parts) or 'no label'}>"
        )

    def comparison(self, kind: Kind) -> Comparison | None:
        """The comparison of one kind, or None."""
        found: Comparison | None = getattr(self, kind)
        return found

    def as_dict(self) -> dict[str, Any]:
        """The errors as plain numbers, for JSON; kinds without labels are absent.

        Energies in meV/atom, force components in eV/Å, stress components in GPa; the unit is
        part of each name: ``{"frames", "atoms", "energy": {"mae_meV_per_atom",
        "rmse_meV_per_atom"}, "forces": {"mae_eV_per_A", …}, "stress": {"mae_GPa", …},
        "by_group": {config_type: the same without by_group}}``.
        """
        document: dict[str, Any] = {"frames": self.frames, "atoms": self.atoms}
        for kind, unit in REPORTED.items():
            values = self.comparison(kind)
            if values is not None:
                errors = {"mae": values.mae, "rmse": values.rmse}
                document[kind] = {f"{n}_{unit.name}": unit.of_evaluation * error for n, error in errors.items()}
        if self.by_group:
            document["by_group"] = {group: part.as_dict() for group, part in self.by_group.items()}
        return document


def evaluate(
    model: GAP,
    frames: Iterable[Atoms] | Iterable[Frame],
    *,
    keys: Keys | None = None,
    kinds: Collection[Kind] = KINDS,
    progress: bool = True,
) -> Evaluation:
    """Compare a model with labelled structures.

    Forces that a force mask leaves out of a fit are left out here, too.

    Parameters
    ----------
    model
        A fitted model; its `n_jobs` is the number of processes.
    frames
        Structures with labels; they are not changed.
    keys
        Names of the labels. None: those of the model, else the usual names.
    kinds
        The kinds of label that are compared.
    progress
        Whether a bar shows the progress where a person is watching.

    Raises
    ------
    DataError
        A structure or label cannot be used, or no structure has a label.
    SpeciesError
        A structure has an element that the model does not know; checked before any work.
    NotFittedError
        The model has not been fitted.
    """
    if not isinstance(model, Fitted):
        what = f"evaluate needs a fitted GAP, not {type(model).__name__}"
        raise ConfigError(what, fix="give gapkit.load(path), then the frames")
    known = model.species_
    data = to_frames(frames, keys=keys or model.keys or Keys(), require_labels=True)
    require_species(known, data)

    wants = [[kind for kind in frame.kinds if kind in kinds] for frame in data]
    labelled = [s for s, want in enumerate(wants) if want]
    predictions = model.predict_frames([data[s] for s in labelled], [wants[s] for s in labelled])
    bar = tqdm(zip(data, wants, strict=True), "evaluate", len(data), unit="frame", disable=None if progress else True)
    compared = [_compare(frame, next(predictions), model.e0_, want) if want else {} for frame, want in bar]
    groups = np.array([frame.group for frame in data])
    members = {str(group): np.flatnonzero(groups == group) for group in np.unique(groups)}
    by_group = {g: _merge([data[s] for s in own], [compared[s] for s in own], {}) for g, own in members.items()}
    return _merge(data, compared, by_group)


def _compare(
    frame: Frame, prediction: Prediction, e0: Mapping[int, float], kinds: Collection[Kind]
) -> dict[Kind, Comparison]:
    """True and predicted values of one frame, for those of some kinds that it has a label of."""
    compared: dict[Kind, Comparison] = {}
    if frame.energy is not None and "energy" in kinds:
        energies = np.array([frame.energy, prediction.energy]) - reference_energy(frame.numbers_e, e0, frame.where)
        compared["energy"] = Comparison(energies[:1] / frame.n_atoms, energies[1:] / frame.n_atoms)
    if frame.forces_ec is not None and prediction.forces is not None and "forces" in kinds:
        use = slice(None) if frame.force_mask_e is None else frame.force_mask_e
        compared["forces"] = Comparison(frame.forces_ec[use].ravel(), prediction.forces[use].ravel())
    if frame.stress_v is not None and prediction.stress is not None:
        compared["stress"] = Comparison(frame.stress_v / GPA, prediction.stress / GPA)
    return compared


def _merge(
    frames: Sequence[Frame], compared: Sequence[Mapping[Kind, Comparison]], by_group: Mapping[str, Evaluation]
) -> Evaluation:
    """One evaluation of several frames; a kind of which no value is left counts as absent."""
    kinds: dict[str, Comparison] = {}
    for kind in KINDS:
        parts = [c[kind] for c in compared if kind in c and len(c[kind].true_n)]
        if parts:
            sides = ([c.true_n for c in parts], [c.predicted_n for c in parts])
            kinds[kind] = Comparison(*map(np.concatenate, sides))
    return Evaluation(len(frames), sum(f.n_atoms for f in frames), by_group=by_group, **kinds)
