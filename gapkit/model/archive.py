"""One file per model: a zip with model.json and .npy members. No pickle, no code, no sidecars."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from gapkit.errors import ModelFileError

Arrays = dict[str, np.ndarray]

SCHEMA = 5
"""Version of the file's content, raised by one with every change."""

_FORMAT = "gapkit model"
_UPPER = ".upper"  # end of the name of a packed triangle
_ZEROS = 0.2  # share from which on compression is worth its time: digits of numbers hardly shrink
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a constant time keeps the bytes deterministic


def write(path: Path, document: dict[str, Any], arrays: Arrays) -> None:
    """Write a model's document and arrays; an interrupted save leaves an older file as it was."""
    content = {"format": _FORMAT, "schema": SCHEMA, **document}
    text = json.dumps(content, indent=1, sort_keys=True, default=_plain)
    with replacing(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(_member("model.json"), text)
        for name, array in sorted(arrays.items()):
            packed = _packed(np.asarray(array))
            kept = np.asarray(array) if packed is None else packed
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, kept, allow_pickle=False)
            sparse = bool(np.count_nonzero(kept) < (1.0 - _ZEROS) * kept.size)
            member = _member(f"{name}.npy" if packed is None else f"{name}{_UPPER}.npy", deflate=sparse)
            archive.writestr(member, buffer.getvalue(), compresslevel=1)


def _packed(array: np.ndarray) -> np.ndarray | None:
    """Columns of an upper triangle down to its diagonal, one after the other; None for any other array."""
    m = len(array) if array.ndim == 2 else 0
    if array.shape != (m, m) or m < 2 or any(array[k + 1 :, k].any() for k in range(m)):
        return None
    return np.concatenate([array[: k + 1, k] for k in range(m)])


def _unpacked(columns: np.ndarray) -> np.ndarray:
    """The triangle of `_packed`."""
    m = math.isqrt(2 * columns.size)
    if columns.shape != (m * (m + 1) // 2,):
        raise ValueError(f"{columns.shape} are no columns of a triangle")
    array, first = np.zeros((m, m), dtype=columns.dtype, order="F"), 0
    for k in range(m):
        array[: k + 1, k] = columns[first : first + k + 1]
        first += k + 1
    return array


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file `path` when all of it is written; until then an old file stays.

    A link stays a link to what is written. What is no file, such as /dev/stdout, is written to as it is.

    Raises
    ------
    ModelFileError
        The folder does not exist or cannot be written to, or the disk is full.
    """
    scratch = ""
    try:
        if is_device(path):
            with path.open("ab") as stream:  # what was written there before stays
                yield stream
            return
        path = path.resolve()
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(scratch, _usual_mode(path))  # mkstemp's 0600 would hide the file from the group
        os.replace(scratch, path)
    except BaseException as error:
        if scratch:
            Path(scratch).unlink(missing_ok=True)
        if isinstance(error, (OSError, RuntimeError)) and not isinstance(error, ModelFileError):  # links in a circle
            what = f"the file cannot be written ({getattr(error, 'strerror', None) or error})"
            raise ModelFileError(what, where=str(path), fix="give a file in a folder that can be written") from error
        raise


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, or a name of an open file such as /dev/stdout."""
    return path.absolute().parts[1:2] in (("dev",), ("proc",)) or (path.exists() and not path.is_file())


def _usual_mode(path: Path) -> int:
    """Permissions of the file that is replaced, or those that a new file gets."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _plain(value: Any) -> Any:
    """Numbers of numpy as those of Python, for JSON."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a model file cannot hold a {type(value).__name__}")


def _member(name: str, deflate: bool = True) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    return info


def read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Document and arrays of a model file.

    Raises
    ------
    ModelFileError
        The file is missing, is no model, is damaged or truncated, or was written by a newer gapkit.
    """
    if path.is_dir():
        raise ModelFileError("this is a directory, no model file", where=str(path), fix="give a file in it")
    if not path.is_file():
        raise ModelFileError("the model file does not exist", where=str(path), fix="check the path and its spelling")
    if path.stat().st_size and not _begins_as_zip(path):
        fix = "give a file written by GAP.save or gapkit fit; on the command line the model comes before the structures"
        raise ModelFileError("this is no gapkit model", where=str(path), fix=fix)
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read("model.json"))
            _check_schema(document, path)
            # all other members are arrays; to read them all is to verify names and checksums
            names = [name for name in archive.namelist() if name != "model.json"]
            arrays: Arrays = {}
            for name in names:
                array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                plain = name.removesuffix(".npy")
                whole = plain.removesuffix(_UPPER)
                arrays[whole] = array if whole == plain else _unpacked(array)
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError) as error:
        raise damaged(path, error) from error
    return document, arrays


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


def _check_schema(document: dict[str, Any], path: Path) -> None:
    """ModelFileError for another format or a newer schema, before anything else is read."""
    known, schema = document["format"] == _FORMAT, int(document["schema"])
    if not known:
        raise ModelFileError("this is no gapkit model", where=str(path), fix="give a file written by GAP.save")
    if schema < 1:
        raise ValueError(f"schema {schema}")
    if schema > SCHEMA:
        what = f"the model has schema {schema}, this gapkit reads up to {SCHEMA}"
        raise ModelFileError(what, where=str(path), fix="install a newer gapkit")


def damaged(path: Path, error: Exception) -> ModelFileError:
    """The error for a file whose content does not hold together."""
    what = f"the model file is damaged or truncated ({type(error).__name__}: {error})"
    return ModelFileError(what, where=str(path), fix="copy it again, or fit the model again")
