"""Array types and the names of the three kinds of label."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Kind: TypeAlias = Literal["energy", "forces", "stress"]
Rng: TypeAlias = np.random.Generator | int | None

KINDS: tuple[Kind, ...] = get_args(Kind)
