"""Files to write are refused before any work, and to try leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gapkit import ConfigError
from gapkit.cli.output import require_all_writable, require_writable


def test_nothing_is_left_or_changed(tmp_path: Path) -> None:
    old, new = tmp_path / "old.gap", tmp_path / "new.gap"
    old.write_text("old")
    before = old.stat().st_mtime_ns
    for path in (old, new, Path("/dev/stdout"), Path("/dev/null")):
        require_writable(path, inputs=[])
    assert old.read_text() == "old"
    assert old.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [old]
    os.mkfifo(tmp_path / "pipe")
    require_writable(tmp_path / "pipe", inputs=[])  # and does not wait for a reader


@pytest.mark.parametrize("name", ["m" * 300 + ".gap", "m" * 245 + ".gap"])
def test_names_that_are_too_long(tmp_path: Path, name: str) -> None:
    """The second one alone would do, but not that of the file which replaces it."""
    with pytest.raises(ConfigError, match="nothing can be written here: File name too long"):
        require_writable(tmp_path / name, inputs=[])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no such place here")
def test_places_where_no_file_can_be() -> None:
    with pytest.raises(ConfigError, match="nothing can be written here"):
        require_writable(Path("/proc/m.gap"), inputs=[])


def test_a_file_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gap").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="nothing can be written here: Permission denied"):
        require_writable(tmp_path / "m.gap", inputs=[])


def test_two_outputs_of_one_name(tmp_path: Path) -> None:
    paths = [str(tmp_path / "q.png"), None, str(tmp_path / "." / "q.png")]
    with pytest.raises(ConfigError, match="two output files have this name"):
        require_all_writable(paths, inputs=[])
