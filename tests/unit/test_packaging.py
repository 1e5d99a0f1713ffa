"""setup.cfg names what gapkit imports, so that a plain `pip install` suffices; what loads slowly waits until used."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDARD = sys.stdlib_module_names | {"tomllib"}  # tomllib is guarded by a version check: tomli stands in on 3.10
DISTRIBUTION = {"sklearn": "scikit-learn"}
FIT = """
from ase.build import bulk
from ase.calculators.lj import LennardJones
import gapkit
atoms = bulk("Ar", "fcc", 5.3) * (2, 1, 1)
atoms.rattle(0.1)
atoms.calc = LennardJones()
atoms.get_forces()
weighting = {"function": "poly", "r0": 4.5, "c": 1, "m": 1}
soap = {"r_cut": 4.5, "n_max": 3, "l_max": 2, "sigma": 0.5, "weighting": weighting}
gapkit.GAP([gapkit.SoapTerm(soap, n_sparse=2)], gapkit.Noise(0.001, 0.1, None), e0={"Ar": 0.0}).fit([atoms])
"""
SLOW = {"ase.io", "dscribe", "joblib", "matplotlib", "scipy.spatial", "scipy.stats", "sklearn"}
OF_ASE = {"ase.io", "scipy.spatial"}  # what ase.build and the calculators of ASE load


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


@pytest.mark.parametrize(
    "code",
    [
        "import gapkit",
        "import gapkit.cli.main",
        "import gapkit; gapkit.GAP(noise=gapkit.Noise()).set_params(noise__forces=0.2).get_params()",
        "import gapkit; dir(gapkit), dir(gapkit.errors), repr(gapkit.GAP([gapkit.SoapTerm(), gapkit.PairTerm()]))",
    ],
)
def test_what_is_slow_to_load_waits_until_it_is_used(code: str) -> None:
    assert SLOW.isdisjoint(loaded_by(code))


def test_a_fit_does_without_what_is_slow_to_load() -> None:
    """dscribe, and scikit-learn with it, take longer to load than a small fit."""
    assert (SLOW - OF_ASE).isdisjoint(loaded_by(FIT))


def loaded_by(code: str) -> list[str]:
    """Modules that a clean process has loaded in the end: the other tests have loaded everything."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([gapkit.__file__, *sys.modules]))"
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    file, *loaded = json.loads(output)
    assert Path(file) == ROOT / "gapkit" / "__init__.py"
    return loaded
