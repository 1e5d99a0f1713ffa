"""Gaussian Approximation Potentials: SOAP as dscribe defines it, a sparse Gaussian process, honest σ."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gapkit import errors
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.atoms.labels import read_frames, to_frames
from gapkit.atoms.trajectories import TrajectoryKFold, split, trajectories
from gapkit.baselines.cohesion import Cohesion
from gapkit.baselines.coulomb import Coulomb
from gapkit.baselines.dispersion import Dispersion
from gapkit.baselines.external import External, register_calculator
from gapkit.baselines.zbl import ZBL
from gapkit.calculator import GAPCalculator
from gapkit.errors import (
    ConfigError,
    DataError,
    GapkitError,
    GapkitWarning,
    ModelFileError,
    SpeciesError,
)
from gapkit.gp.calibration import Calibration, Scale
from gapkit.gp.noise import Noise
from gapkit.model.acsf_term import ACSFTerm
from gapkit.model.committee import Committee
from gapkit.model.evaluation import Evaluation, evaluate
from gapkit.model.explanation import Explanation
from gapkit.model.gap import GAP
from gapkit.model.held_out import Errors, HeldOut
from gapkit.model.maximizing import EvidenceReport
from gapkit.model.pair_term import PairTerm
from gapkit.model.prediction import Prediction
from gapkit.model.residuals import Residuals
from gapkit.model.soap_term import SoapTerm
from gapkit.model.triplet_term import TripletTerm

if TYPE_CHECKING:
    from gapkit.errors import NotFittedError
else:

    def __getattr__(name: str) -> type[GapkitError]:
        """NotFittedError, which loads scikit-learn."""
        if name != "NotFittedError":
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return errors.NotFittedError

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


load = GAP.load

try:
    __version__ = version("gapkit")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0"

__all__ = [
    "GAP",
    "ZBL",
    "ACSFTerm",
    "Calibration",
    "Cohesion",
    "Committee",
    "ConfigError",
    "Coulomb",
    "DataError",
    "Dispersion",
    "Errors",
    "Evaluation",
    "EvidenceReport",
    "Explanation",
    "External",
    "Frame",
    "GAPCalculator",
    "GapkitError",
    "GapkitWarning",
    "HeldOut",
    "Keys",
    "ModelFileError",
    "Noise",
    "NotFittedError",
    "PairTerm",
    "Prediction",
    "Residuals",
    "Scale",
    "SoapTerm",
    "SpeciesError",
    "TrajectoryKFold",
    "TripletTerm",
    "__version__",
    "evaluate",
    "load",
    "read_frames",
    "register_calculator",
    "split",
    "to_frames",
    "trajectories",
]
