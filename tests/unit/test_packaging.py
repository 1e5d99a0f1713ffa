"""setup.cfg names what gapkit imports, so that a plain `pip install` suffices."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STANDARD = sys.stdlib_module_names | {"tomllib"}  # tomllib is guarded by a version check: tomli stands in on 3.10
DISTRIBUTION = {"sklearn": "scikit-learn"}


def test_every_import_is_a_declared_dependency() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = [text for extra, text in setup["options.extras_require"].items() if extra != "dev"]
    requirements = "\n".join([setup["options"]["install_requires"], *extras])
    declared = set(re.findall(r"^([\w-]+)", requirements, flags=re.MULTILINE))
    imported = {
        name.split(".")[0]
        for path in (ROOT / "gapkit").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    foreign = imported - STANDARD - {"gapkit"}
    assert {DISTRIBUTION.get(name, name) for name in foreign} <= declared
