"""Options as a person types them: what is wrong is said in one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NoReturn

from gapkit._check import memory
from gapkit.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the options in one line, like all other errors."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As in argparse, which complains of unknown options for the program as a whole: here the command does."""
        found, unknown = super().parse_known_args(args, namespace)
        for option in (text.partition("=")[0] for text in unknown if text.startswith("--")):
            close = get_close_matches(option, self._option_string_actions, n=1)
            self._refuse(f"there is no option {option}", f"did you mean {close[0]}? " if close else "")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """One line, and status 2."""
        self._refuse(message)

    def _refuse(self, what: str, guess: str = "") -> NoReturn:
        self.exit(2, f"gapkit: error: {what}. Fix: {guess}see '{self.prog} --help'.\n")


def number(least: int, also: int | None = None) -> Callable[[str], int]:
    """Reads a whole number, of at least `least` or equal to `also`."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least and (also is None or value != also):
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
        return value

    return whole_number


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


def sigma(text: str) -> float | None:
    """The same, or "none"."""
    return None if text.lower() == "none" else positive(text)


def amount(text: str) -> str:
    """An amount of memory, as it was written."""
    try:
        memory("--max-memory", text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.what) from error
    return text
