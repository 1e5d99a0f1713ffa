"""What a rule says of one config_type, and one finding of all config_types that have the same fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gapkit.datasets.finding import Finding, Severity
from gapkit.datasets.table import Table

_SHOWN: Final = 8


class Verdict(NamedTuple):
    """A fault of the frames `which` of a group: its cause, alike in all groups, and the numbers that show it here.

    `weight` is the number of pairs that say so; `whole`: all labels of the group have one known unit or sign;
    `doubtful`: the cause of other groups explains it as well.
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
    doubtful: bool = False


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


def with_unclear(
    verdicts: Sequence[Verdict], unclear: Mapping[str, list[int]], right: int
) -> tuple[list[Verdict], dict[str, list[int]]]:
    """The verdicts, the most frequent one with unclear and doubtful groups added, and the groups that stay unclear.

    Parameters
    ----------
    verdicts
        Of groups with evidence.
    unclear
        Group -> frames of groups without.
    right
        Number of groups whose labels agree.
    """
    counts = Counter(verdict.cause for verdict in verdicts if verdict.whole)
    cause, most = counts.most_common(1)[0] if counts else ("", 0)
    also = {**unclear, **{verdict.group: verdict.which for verdict in verdicts if verdict.doubtful}}
    if 2 * most <= sum(counts.values()) + right or not also:
        return list(verdicts), dict(unclear)
    chosen = max((v for v in verdicts if v.cause == cause), key=lambda verdict: verdict.weight)
    which = [*chosen.which, *(s for members in also.values() for s in members)]
    numbers = f"{chosen.numbers}; most likely also in {named_groups(list(also))}, where no frames tell"
    others = [verdict for verdict in verdicts if verdict is not chosen and not verdict.doubtful]
    return [chosen._replace(which=which, numbers=numbers), *others], {}


def named_groups(groups: Sequence[str]) -> str:
    """The first config_types by name, and how many there are."""
    if len(groups) <= _SHOWN:
        return ", ".join(groups)
    return f"{', '.join(groups[:_SHOWN])} … ({len(groups)} config_types)"
