"""Standard deviations that people can trust: calibration, and what to do when they are large."""

from __future__ import annotations

from gapkit.uncertainty.calibrate import calibrate
from gapkit.uncertainty.flag import Flag, SentinelStop
from gapkit.uncertainty.sentinel import Sentinel

__all__ = ["Flag", "Sentinel", "SentinelStop", "calibrate"]
