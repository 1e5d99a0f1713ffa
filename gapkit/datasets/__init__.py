"""Is this set of structures fit for a fit? A linter for labelled data."""

from __future__ import annotations

from gapkit.datasets.check import check_files, check_frames
from gapkit.datasets.duplicates import copies
from gapkit.datasets.finding import Finding, Place
from gapkit.datasets.report import Report
from gapkit.datasets.summary import Group, Summary

__all__ = ["Finding", "Group", "Place", "Report", "Summary", "check_files", "check_frames", "copies"]
