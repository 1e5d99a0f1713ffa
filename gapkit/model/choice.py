"""A setting that was chosen, and why."""

from __future__ import annotations

from dataclasses import dataclass

GIVEN, DEFAULT = "given", "default"
"""Reasons of settings that nothing was to be chosen about."""


@dataclass(frozen=True)
class Choice:
    """One setting of a fit, its value for a person, and why it was chosen."""

    name: str
    value: str
    why: str
