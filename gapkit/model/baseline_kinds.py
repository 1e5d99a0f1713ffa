"""The kinds of baseline by their names in files: a new kind is one class, named here."""

from __future__ import annotations

from gapkit.baselines.base import Baseline
from gapkit.baselines.cohesion import Cohesion
from gapkit.baselines.coulomb import Coulomb
from gapkit.baselines.dispersion import Dispersion
from gapkit.baselines.external import External
from gapkit.baselines.zbl import ZBL

BASELINE_KINDS: dict[str, type[Baseline]] = {b.kind: b for b in (ZBL, Cohesion, Coulomb, Dispersion, External)}
