"""Labelled structures of the files on the command line, and what was read in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols

from gapkit import Frame, Keys, read_frames
from gapkit.atoms.labels import to_frames
from gapkit.cli.report import MOST_GROUPS, SHOWN_GROUPS, counted
from gapkit.errors import warn
from gapkit.typing import KINDS


def read_labelled(paths: Sequence[str], keys: Keys) -> list[Frame]:
    """Frames of all files; messages name the file and the frame in it."""
    structures, places = [], []
    for path in paths:
        own = read_frames(path)
        structures += own
        places += [f"{path}, frame {k}" for k in range(len(own))]
    return to_frames(structures, keys=keys, where=paths[0] if len(paths) == 1 else places, require_labels=True)


def read_training(paths: Sequence[str], keys: Keys) -> list[Frame]:
    """The same of frames for a fit, which warns of those that are there twice."""
    frames = read_labelled(paths, keys)
    first: dict[int, Frame] = {}
    again = [f for f in frames if first.setdefault(f.hash, f) is not f and f.n_atoms > 1]
    if again:
        place, other = again[0].where, first[again[0].hash].where
        which = f"{place} is {other}" if place != other else f"{place.rpartition(', ')[0]} is given twice"
        what = f"{counted(len(again), 'frame')} of the data are there twice ({which}): they count twice,"
        what += " and σ and left-out errors become too small."
        warn(f"{what} Fix: give each file once, and keep one of each frame.")
    return frames


def summary(frames: Sequence[Frame]) -> list[str]:
    """What was read, in two lines."""
    numbers = np.unique(np.concatenate([f.numbers_e for f in frames]))
    symbols = ", ".join(chemical_symbols[z] for z in numbers)
    labels = Counter(kind for f in frames for kind in f.kinds)
    groups = Counter(f.group for f in frames)
    labelled = ", ".join(f"{kind} of {labels[kind]}" for kind in KINDS if labels[kind])
    atoms = counted(sum(f.n_atoms for f in frames), "atom")
    return [
        f"read {counted(len(frames), 'frame')} with {atoms} of {symbols}; {labelled} frames",
        f"config_type: {_named(groups)}",
        "",
    ]


def _named(groups: Counter[str]) -> str:
    """Names and numbers of frames; of very many, the most frequent."""
    if len(groups) <= MOST_GROUPS:
        return ", ".join(f"{group} {count}" for group, count in sorted(groups.items()))
    some = ", ".join(f"{group} {count}" for group, count in groups.most_common(SHOWN_GROUPS))
    return f"{some} … {len(groups) - SHOWN_GROUPS} more"
