"""What the data say about the settings of a model."""

from __future__ import annotations

from gapkit.tuning.curve import CurvePoint, LearningCurve
from gapkit.tuning.embedding import Embedding, element_similarity, learn_embedding
from gapkit.tuning.front import Pareto, Point
from gapkit.tuning.learning import learning_curve
from gapkit.tuning.pareto import pareto
from gapkit.tuning.scorers import Scorer, Scorers
from gapkit.tuning.selector import SparseSelector
from gapkit.tuning.trial import Trial
from gapkit.tuning.tune import Tuning, tune

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
