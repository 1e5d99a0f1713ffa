"""Files that commands write: refused before the work starts, whole or not there at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapkit.errors import ConfigError
from gapkit.model.archive import is_device, replacing


def require_writable(path: Path, *, inputs: Iterable[Path]) -> None:
    """ConfigError unless a file can be written at `path` that is none of the inputs."""
    folder = path.parent
    try:
        if not folder.is_dir():
            fix = f"mkdir -p {folder}"
            raise ConfigError("the directory of the output file does not exist", where=str(path), fix=fix)
        if path.is_dir():
            raise ConfigError("the output file is a directory", where=str(path), fix="give the name of a file")
        if any(path.exists() and other.exists() and path.samefile(other) for other in inputs):
            raise ConfigError("the output file is also an input", where=str(path), fix="give another name")
        _try(path)
    except (OSError, RuntimeError) as error:  # links in a circle are a RuntimeError
        reason = getattr(error, "strerror", None) or str(error)
        what = f"nothing can be written here: {reason}"
        raise ConfigError(what, where=str(path), fix="choose another place") from error


def _try(path: Path) -> None:
    """OSError unless the file can be opened, and replaced by another one of the folder; nothing is left or changed."""
    if path.is_fifo():  # to open it is to wait for its reader
        return
    if path.exists():
        path.open("ab").close()
    if not is_device(path):
        real = path.resolve()
        tempfile.NamedTemporaryFile(dir=real.parent, prefix=f".{real.name}.", suffix=".part").close()
    elif not path.exists():
        path.open("ab").close()
        path.unlink()


def require_all_writable(paths: Sequence[str | None], *, inputs: Sequence[str | None]) -> None:
    """The same of several files, of which those that are not wanted are None; no two may be the same."""
    outputs = [Path(path) for path in paths if path]
    for k, path in enumerate(outputs):
        require_writable(path, inputs=[Path(other) for other in inputs if other])
        if path.resolve() in [other.resolve() for other in outputs[:k]]:
            raise ConfigError("two output files have this name", where=str(path), fix="give one of them another name")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write numbers and text as JSON; no number is NaN or infinite."""
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: at no time is there half of it."""
    with replacing(path) as stream:
        stream.write(content)


def size_of(path: Path) -> str:
    """Size of a file for a person: 12.3 MB."""
    size = float(path.stat().st_size)
    for unit in ("B", "kB", "MB"):
        if size < 1000.0:
            return f"{size:.3g} {unit}"
        size /= 1000.0
    return f"{size:.3g} GB"
