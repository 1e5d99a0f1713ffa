"""What a person at a terminal is told beside the results: warnings, errors, progress in words."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from gapkit.errors import GapkitError, GapkitWarning


class _Once(logging.Handler):
    """Log records on stderr, above a progress bar; a warning that was said already is not repeated."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            tqdm.write(f"gapkit: warning: {text}", file=sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.warn(record.getMessage())
        else:
            tqdm.write(f"gapkit: {record.getMessage()}", file=sys.stderr)


@contextmanager
def messages(verbose: bool) -> Iterator[None]:
    """Show warnings as one line each, and with `verbose` what the library logs; everything is restored after."""
    logger, handler = logging.getLogger("gapkit"), _Once()
    level, usual = logger.level, warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, GapkitWarning):
            handler.warn(str(message))
        else:
            usual(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", GapkitWarning)
        warnings.showwarning = show
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if verbose else logging.WARNING)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def complain(error: GapkitError, verbose: bool) -> None:
    """One line about an error of the user, after its traceback if that was asked for."""
    if verbose:
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    if "Keys(" in text:
        text += " Here: Keys is the table [keys] of the file given with --config."
    if "data=True" in text:
        text += " Here: gapkit fit --keep-data."
    print(f"gapkit: error: {text}", file=sys.stderr)
