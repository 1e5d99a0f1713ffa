"""All that a check found, with the summary of the set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gapkit.datasets.finding import SEVERITIES, Finding, Severity, counted
from gapkit.datasets.summary import Summary


@dataclass(frozen=True)
class Report:
    """Result of `check_frames` and `check_files`.

    Attributes
    ----------
    findings
        Errors first, then warnings, then notes; each kind in the order of the structures.
    summary
        What the readable structures are.
    """

    findings: tuple[Finding, ...]
    summary: Summary

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", _sorted(self.findings))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """A fit would fail or learn something wrong."""
        return self.of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Likely a fault."""
        return self.of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Good to know."""
        return self.of("note")

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def by_rule(self, rule: str) -> tuple[Finding, ...]:
        """Findings of one rule."""
        return tuple(finding for finding in self.findings if finding.rule == rule)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the numbers of findings, the findings, the summary."""
        counts = {severity: len(self.of(severity)) for severity in SEVERITIES}
        findings = [finding.as_dict() for finding in self.findings]
        return {"counts": counts, "findings": findings, "summary": self.summary.as_dict()}

    def __str__(self) -> str:
        return "\n".join([str(self.summary), "", *self._lines()])

    def _lines(self) -> Iterator[str]:
        for finding in self.findings:
            yield f"{finding.severity:8}{finding.rule}" + (f": {finding.where}" if finding.where else "")
            yield f"        {finding.what.rstrip('.')}."
            yield f"        Fix: {finding.fix.rstrip('.')}."
        if self.findings:
            yield ""
        yield ", ".join(counted(len(self.of(severity)), severity) for severity in SEVERITIES)


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    def order(finding: Finding) -> tuple[int, int, str, str]:
        first = finding.frames[0] if finding.frames else -1
        return SEVERITIES.index(finding.severity), first, finding.rule, finding.what

    return tuple(sorted(findings, key=order))
