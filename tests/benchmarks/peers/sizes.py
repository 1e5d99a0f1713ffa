"""How much work each section does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Work of all sections; the defaults are what the table is about.

    Attributes
    ----------
    frames, n_max, m
        Silicon: training frames (None: all), n_max = l_max, number of sparse points.
    cells, rounds, snap_steps
        Calls: cubic cells of silicon, interleaved rounds, steps of molecular dynamics.
    organic_frames, organic_all, organic_n, organic_l, organic_m, organic_calls
        Molecules: frames fitted by both, frames that only gapkit fits, n_max, l_max, sparse
        points per element (fewer where the frames have fewer atoms), molecules per timed round.
    large
        Atoms of the largest structure.
    scaling_cells, scaling_frames, scaling_m
        Cells, numbers of frames and of sparse points of the section on scaling.
    """

    frames: int | None = None
    n_max: int = 8
    m: int = 1000
    cells: tuple[int, int, int] = (6, 6, 4)
    rounds: int = 7
    snap_steps: int = 50
    organic_frames: int = 50
    organic_all: int | None = None
    organic_n: int = 8
    organic_l: int = 6
    organic_m: int = 500
    organic_calls: int = 50
    large: int = 1_000_000
    scaling_cells: tuple[tuple[int, int, int], ...] = ((3, 2, 2), (5, 5, 5), (5, 10, 25), (20, 25, 25))
    scaling_frames: tuple[int, ...] = (50, 100, 200)
    scaling_m: tuple[int, ...] = (250, 500, 1000, 2000, 4000)


QUICK = Sizes(
    frames=6,
    n_max=4,
    m=50,
    cells=(3, 3, 3),
    rounds=2,
    snap_steps=5,
    organic_frames=3,
    organic_all=6,
    organic_n=3,
    organic_l=2,
    organic_m=10,
    organic_calls=3,
    large=8000,
    scaling_cells=((3, 2, 2), (5, 5, 5)),
    scaling_frames=(3, 6),
    scaling_m=(20, 40),
)
"""Only to see that the script works; its figures mean nothing."""
