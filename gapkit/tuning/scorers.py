"""Scores of models for scikit-learn's searches: minus the errors of energies, forces or stresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from gapkit import ConfigError, DataError, Evaluation, evaluate
from gapkit.errors import nearest
from gapkit.typing import KINDS, Kind

Measure = Literal["mae", "rmse"]
MEASURES: Final[tuple[Measure, ...]] = ("mae", "rmse")


@dataclass(frozen=True)
class Scorer:
    """One error with its sign turned, so that higher is better; ``scoring=Scorer("forces", "rmse")``.

    Called with a model (or a pipeline or search that ends in one) and labelled structures. Frames without the label
    are passed over.

    Attributes
    ----------
    kind
        ``energy`` (eV/atom), ``forces`` (components, eV/Å) or ``stress`` (components, GPa).
    measure
        ``rmse`` or ``mae``.

    Raises
    ------
    DataError
        When called with frames of which none has the label.
    """

    kind: Kind
    measure: Measure = "rmse"

    def __post_init__(self) -> None:
        _check(self.kind, KINDS, "kind")
        _check(self.measure, MEASURES, "measure")

    def __call__(self, model: Any, X: Iterable[Any], y: Any = None) -> float:
        return _score(_evaluated(model, X, (self.kind,)), self.kind, self.measure)


@dataclass(frozen=True)
class Scorers:
    """Both errors of several kinds at the cost of one prediction; ``scoring=Scorers(("energy", "forces"))``.

    The scores are named ``energy_mae``, ``energy_rmse`` and so on; a search needs one of these names as its `refit`.
    Units and signs as in `Scorer`.

    Attributes
    ----------
    kinds
        Kinds of label; every part of the data has to have some of each.
    """

    kinds: tuple[Kind, ...] = ("energy", "forces")

    def __post_init__(self) -> None:
        if isinstance(self.kinds, str) or not self.kinds:
            raise ConfigError(f"kinds={self.kinds!r} are no kinds of label", fix='give such as ("energy", "forces")')
        for kind in self.kinds:
            _check(kind, KINDS, "kind")

    def __call__(self, model: Any, X: Iterable[Any], y: Any = None) -> dict[str, float]:
        found = _evaluated(model, X, self.kinds)
        return {f"{kind}_{measure}": _score(found, kind, measure) for kind in self.kinds for measure in MEASURES}


def _evaluated(model: Any, frames: Iterable[Any], kinds: tuple[Kind, ...]) -> Evaluation:
    """The errors of the model at the end of pipelines and searches, on what their other steps make of the frames."""
    while not hasattr(model, "predict_frames"):
        if hasattr(model, "steps"):
            frames, model = model[:-1].transform(frames) if len(model.steps) > 1 else frames, model.steps[-1][1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            raise ConfigError(f"a {type(model).__name__} is no GAP", fix="score a fitted GAP, or a pipeline of one")
    return evaluate(model, frames, kinds=kinds, progress=False)


def _score(found: Evaluation, kind: Kind, measure: Measure) -> float:
    compared = found.comparison(kind)
    if compared is None:
        what = f"None of the {found.frames} frames has {'an energy' if kind == 'energy' else kind} to score"
        others = [k for k in KINDS if found.comparison(k) is not None]
        hint = f", which has {', '.join(others)}" if others else ""
        raise DataError(what, fix=f"give frames with this label, or score another kind{hint}")
    return -float(getattr(compared, measure))


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise ConfigError(f"'{name}' is no {what} of score", fix=nearest(str(name), known))
