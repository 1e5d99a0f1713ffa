"""The exceptions of gapkit: each says what is wrong, where, and how to fix it.

GapkitError
├── DataError        structures or labels that cannot be used      (also ValueError)
├── SpeciesError     an element that a model does not know         (also ValueError)
├── ConfigError      a setting outside its range or unknown        (also ValueError)
│   └── NothingInReach   no atoms within the cutoff of a term
├── ModelFileError   a model file that cannot be read              (also OSError)
└── NotFittedError   prediction asked of a model before `fit`      (also sklearn's)
GapkitWarning        something that was done, and may not be wanted
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.exceptions import NotFittedError as _SklearnNotFittedError


class GapkitError(Exception):
    """Base of all errors that gapkit raises on purpose.

    Parameters
    ----------
    what
        One sentence: what is wrong.
    fix
        What the user can do about it. Required: an error without a fix is not finished.
    where
        File, frame or atom that it concerns.
    """

    def __init__(self, what: str, *, fix: str, where: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        place = f" ({where})" if where else ""
        super().__init__(f"{what.rstrip('.')}{place}. Fix: {fix.rstrip('.')}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between the processes of joblib."""
        return partial(type(self), self.what, where=self.where, fix=self.fix), ()


class DataError(GapkitError, ValueError):
    """Structures or labels that cannot be used as they are."""


class SpeciesError(GapkitError, ValueError):
    """An element that the model or descriptor does not know."""


class ConfigError(GapkitError, ValueError):
    """A setting that is unknown or outside its range."""


class NothingInReach(ConfigError):
    """No atoms are within the cutoff of a term."""


class ModelFileError(GapkitError, OSError):
    """A model file that is missing, damaged, truncated or too new."""


class GapkitWarning(UserWarning):
    """Something that gapkit decided for the user and the user should know."""


def warn(text: str) -> None:
    """A `GapkitWarning` at the line of the user's own code that led to it."""
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").partition(".")[0] == "gapkit" and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, GapkitWarning, stacklevel=level)


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint of an error about an unknown name: the nearest valid one and all others."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"{guess}valid names are {', '.join(known)}"


if TYPE_CHECKING:

    class NotFittedError(GapkitError, _SklearnNotFittedError):
        """A method that needs a fitted model was called before `fit`."""

else:

    def __getattr__(name: str) -> type[GapkitError]:
        """NotFittedError, made when it is first asked for: its base is slow to load, and few programs need it."""
        if name != "NotFittedError":
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        from sklearn.exceptions import NotFittedError as base

        text = "A method that needs a fitted model was called before `fit`."
        # setdefault: two threads that ask at once get one class
        return globals().setdefault(name, type(name, (GapkitError, base), {"__module__": __name__, "__doc__": text}))

    def __dir__() -> list[str]:
        return sorted({*globals(), "NotFittedError"})
