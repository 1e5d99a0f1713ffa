"""One file per model: a zip with model.json and .npy members. No pickle, no code, no sidecars."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gapkit.errors import ModelFileError

Arrays = dict[str, np.ndarray]

SCHEMA = 1
"""Version of the file's content, raised by one with every change."""

_FORMAT = "gapkit model"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a constant time keeps the bytes deterministic


def write(path: Path, document: dict[str, Any], arrays: Arrays) -> None:
    """Write a model's document and arrays; an interrupted save leaves an older file as it was."""
    text = json.dumps({"format": _FORMAT, "schema": SCHEMA, **document}, indent=1, sort_keys=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr(_member("model.json"), text)
                for name, array in sorted(arrays.items()):
                    buffer = io.BytesIO()
                    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
                    archive.writestr(_member(f"{name}.npy"), buffer.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Document and arrays of a model file.

    Raises
    ------
    ModelFileError
        The file is missing, is no model, is damaged or truncated, or was written by a newer gapkit.
    """
    if not path.is_file():
        raise ModelFileError("the model file does not exist", where=str(path), fix="check the path and its spelling")
    try:
        arrays: Arrays = {}
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read("model.json"))
            for name in archive.namelist():
                if name.endswith(".npy"):
                    arrays[name.removesuffix(".npy")] = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
        known = document["format"] == _FORMAT
        schema = int(document["schema"])
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, EOFError, OSError) as error:
        raise damaged(path, error) from error
    if not known:
        raise ModelFileError("this is no gapkit model", where=str(path), fix="give a file written by GAP.save")
    if schema > SCHEMA:
        what = f"the model has schema {schema}, this gapkit reads up to {SCHEMA}"
        raise ModelFileError(what, where=str(path), fix="install a newer gapkit")
    return document, arrays


def damaged(path: Path, error: Exception) -> ModelFileError:
    """The error for a file whose content does not hold together."""
    what = f"the model file is damaged or truncated ({type(error).__name__}: {error})"
    return ModelFileError(what, where=str(path), fix="copy it again, or fit the model again")
