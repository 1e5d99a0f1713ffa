"""What the data say about the settings of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapkit.tuning.curve import CurvePoint, LearningCurve
from gapkit.tuning.embedding import Embedding, element_similarity, learn_embedding
from gapkit.tuning.front import Pareto, Point
from gapkit.tuning.learning import learning_curve
from gapkit.tuning.pareto import pareto
from gapkit.tuning.scorers import Scorer, Scorers
from gapkit.tuning.trial import Trial
from gapkit.tuning.tune import tune
from gapkit.tuning.tuned import Tuning

if TYPE_CHECKING:
    from gapkit.tuning.selector import SparseSelector
else:

    def __getattr__(name: str) -> Any:
        """SparseSelector, whose base classes of scikit-learn are slow to load."""
        if name != "SparseSelector":
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        from gapkit.tuning.selector import SparseSelector

        return SparseSelector

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "CurvePoint",
    "Embedding",
    "LearningCurve",
    "Pareto",
    "Point",
    "Scorer",
    "Scorers",
    "SparseSelector",
    "Trial",
    "Tuning",
    "element_similarity",
    "learn_embedding",
    "learning_curve",
    "pareto",
    "tune",
]
