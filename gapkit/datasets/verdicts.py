"""What a rule says of one config_type, and one finding of all config_types that have the same fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gapkit.datasets.finding import Finding, Severity
from gapkit.datasets.table import Table

_SHOWN: Final = 8


class Verdict(NamedTuple):
    """A fault of the frames `which` of a group: its cause, alike in all groups, and the numbers that show it here.

    `weight` is the number of pairs that say so; `whole`: all labels of the group have one known unit or sign.
    """

    rule: str
    severity: Severity
    group: str
    which: list[int]
    cause: str
    numbers: str
    fix: str
    weight: int = 0
    whole: bool = False


def merged(table: Table, verdicts: Iterable[Verdict]) -> Iterator[Finding]:
    """A finding of every cause, with the numbers of the group that has the most of them (largest weight)."""
    alike: dict[tuple[str, Severity, str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        alike[verdict.rule, verdict.severity, verdict.cause, verdict.fix].append(verdict)
    for (rule, severity, cause, fix), some in alike.items():
        groups = f", in {named_groups([verdict.group for verdict in some])}" if len(some) > 1 else ""
        best = max(some, key=lambda verdict: verdict.weight)
        what = f"{cause}{groups}: {best.numbers}" if best.numbers else f"{cause}{groups}"
        yield table.finding(rule, severity, [s for verdict in some for s in verdict.which], what, fix)


def named_groups(groups: Sequence[str]) -> str:
    """The first config_types by name, and how many there are."""
    if len(groups) <= _SHOWN:
        return ", ".join(groups)
    return f"{', '.join(groups[:_SHOWN])} … ({len(groups)} config_types)"
