"""The drawing of the house as a test: who may import whom inside gapkit.

A module imports only from floors strictly below its own. Rooms on one floor do not know each other, modules of one
room may if no circle arises. Wings see the façade and floors 0-2, never one another. Imports under TYPE_CHECKING,
inside functions and by `import_module("...")` count like all others.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

GAPKIT = Path(__file__).parents[2] / "gapkit"

FLOORS: dict[int, set[str]] = {
    10: {"cli"},
    9: {"uncertainty", "active", "datasets", "validate", "tuning", "phases", "embedding", "lammps", "testing"},
    8: {"façade"},
    7: {"calculator"},
    6: {"model"},
    5: {"gp"},
    4: {"descriptors", "kernels", "baselines"},
    3: {"atoms"},
    2: {"numerics"},
    1: {"_check", "_drawing", "_parameters"},
    0: {"errors", "units", "typing"},
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
# The highest inner floor that a room of floor 9 sees beside the façade; `testing` holds descriptors to laws.
VIEW = {room: 5 if room == "testing" else 2 for room in FLOORS[9]}
NO_ATOMS_IN_NUMERICS = {"ase", "dscribe", "vesin"}


@dataclass(frozen=True)
class Fault:
    kind: str
    module: str
    detail: str
    line: int = 0


def room_of(module: str) -> str:
    """gapkit -> façade, gapkit.gp.sparse -> gp."""
    return [*module.split("."), "façade"][1]


def same_room(one: str, other: str) -> bool:
    """Whether two rooms are one; the three modules of the ground floor share theirs."""
    return one == other or FLOOR[one] == FLOOR[other] == 0


def may_import(here: str, there: str) -> bool:
    """Whether a module of room `here` may import from the room `there`."""
    if same_room(here, there):
        return True
    if here in VIEW:
        return there == "façade" or FLOOR[there] <= VIEW[here]
    return FLOOR[there] < FLOOR[here]


def modules_of(package: Path) -> dict[str, Path]:
    """Dotted name and file of every module; a package goes by its own name."""
    names = {path: path.relative_to(package.parent).with_suffix("").parts for path in sorted(package.rglob("*.py"))}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in names.items()}


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, module and imported name (empty in `import module`) of every import; relative ones start with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in {"import_module", "__import__"}:
                yield node.lineno, str(node.args[0].value), ""


def faults_of_import(here: str, there: str, modules: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Kind and detail of what is wrong with module `here` importing module `there`."""
    top = there.split(".")[0]
    if not top:
        yield "relative import", there
    elif top != "gapkit":
        if room_of(here) == "numerics" and top in NO_ATOMS_IN_NUMERICS:
            yield "atoms in numerics", there
    elif there not in modules:
        yield "no such module", there
    elif room_of(there) in FLOOR and not may_import(room_of(here), room_of(there)):
        yield "not below", there


def inspect(package: Path) -> list[Fault]:
    """Everything in the source tree `package` that contradicts the drawing."""
    modules = modules_of(package)
    faults = [Fault("not in the drawing", name, room_of(name)) for name in modules if room_of(name) not in FLOOR]
    folders = {parent for path in modules.values() for parent in path.relative_to(package.parent).parents}
    homeless = sorted(str(folder) for folder in folders if folder.parts and ".".join(folder.parts) not in modules)
    faults += [Fault("no __init__.py", folder, "setuptools leaves it out") for folder in homeless]
    siblings: dict[str, set[str]] = {}
    for here, path in modules.items():
        if room_of(here) not in FLOOR:
            continue
        for line, base, name in imports_of(ast.parse(path.read_text(encoding="utf-8"))):
            there = f"{base}.{name}" if f"{base}.{name}" in modules else base
            found = list(faults_of_import(here, there, modules))
            faults += [Fault(kind, here, detail, line) for kind, detail in found]
            if not found and there in modules and same_room(room_of(here), room_of(there)):
                siblings.setdefault(here, set()).add(there)
    try:
        TopologicalSorter(siblings).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        faults.append(Fault("circle", min(circle), " -> ".join(circle)))
    return faults


def test_gapkit_stands_as_drawn() -> None:
    assert inspect(GAPKIT) == []


def build(root: Path, sources: dict[str, str]) -> Path:
    """A package gapkit below `root` with these files, and an empty __init__.py in each folder that names none."""
    for name, text in sources.items():
        path = root / "gapkit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in (root / "gapkit", *(path for path in (root / "gapkit").rglob("*") if path.is_dir())):
        (folder / "__init__.py").touch()
    return root / "gapkit"


SOUND = {
    "errors.py": "import ase\nfrom gapkit.typing import Kind\n",
    "typing.py": "import numpy\n",
    "_check.py": "from gapkit.errors import ConfigError\n",
    "numerics/radial.py": "import scipy\nfrom gapkit import _check\n",
    "atoms/frame.py": "import ase\nfrom gapkit.typing import Kind\n",
    "descriptors/__init__.py": "from gapkit.descriptors.soap import Soap\n",
    "descriptors/base.py": "from gapkit.atoms.frame import Frame\n",
    "descriptors/soap.py": "from gapkit.descriptors.base import Descriptor\nfrom gapkit.descriptors import base\n",
    "kernels/base.py": "from gapkit.numerics import radial\n",
    "gp/term.py": "from gapkit.kernels.base import Kernel\nfrom gapkit.descriptors import Soap\n",
    "model/gap.py": "from gapkit.gp.term import Term\n",
    "calculator.py": "from gapkit.model.gap import GAP\n",
    "__init__.py": "from gapkit.calculator import GAPCalculator\nfrom gapkit.errors import GapkitError\n",
    "testing.py": "import gapkit\nfrom gapkit.kernels.base import Kernel\nfrom gapkit.gp import term\n",
    "active/loop.py": "import gapkit\nfrom gapkit.numerics.radial import f\nfrom gapkit.active.pick import p\n",
    "active/pick.py": "import gapkit.units\n",
    "units.py": "",
    "cli/main.py": "from gapkit.active.loop import run\nfrom gapkit import load\nfrom gapkit.model.gap import GAP\n",
}

WRONG = {
    "upward": ("numerics/radial.py", "from gapkit.atoms.frame import Frame", "not below"),
    "the floor above the ground": ("units.py", "from gapkit._check import whole", "not below"),
    "the façade from inside": ("model/gap.py", "import gapkit", "not below"),
    "a name of the façade from inside": ("gp/term.py", "from gapkit import GAP", "not below"),
    "module by way of its package": ("atoms/frame.py", "from gapkit.gp import term", "not below"),
    "corridor": ("kernels/base.py", "from gapkit.descriptors.base import Descriptor", "not below"),
    "other corridor": ("descriptors/base.py", "import gapkit.kernels.base as k", "not below"),
    "calculator from the model": ("model/gap.py", "from gapkit.calculator import GAPCalculator", "not below"),
    "wing looks inside": ("active/loop.py", "from gapkit.model.gap import GAP", "not below"),
    "wing looks at atoms": ("active/pick.py", "from gapkit.atoms.frame import Frame", "not below"),
    "wing looks at a wing": ("uncertainty/calibrate.py", "from gapkit.active.loop import run", "not below"),
    "wing looks at testing": ("active/loop.py", "from gapkit.testing import laws", "not below"),
    "testing looks at the model": ("testing.py", "from gapkit.model.gap import GAP", "not below"),
    "testing looks at a wing": ("testing.py", "from gapkit.active import pick", "not below"),
    "façade looks at a wing": ("__init__.py", "from gapkit.active.loop import run", "not below"),
    "wing looks at the door": ("active/loop.py", "from gapkit.cli.main import main", "not below"),
    "for type checkers only": (
        "numerics/radial.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gapkit.atoms.frame import Frame",
        "not below",
    ),
    "lazy": ("atoms/frame.py", "def f():\n    from gapkit.model.gap import GAP", "not below"),
    "by name": ("atoms/frame.py", "import importlib\nimportlib.import_module('gapkit.model.gap')", "not below"),
    "by a bare name": ("atoms/frame.py", "__import__('gapkit.model')", "not below"),
    "sibling": ("gp/term.py", "from . import noise", "relative import"),
    "parent": ("gp/term.py", "from ..errors import GapkitError", "relative import"),
    "relative by name": ("gp/term.py", "from importlib import import_module\nimport_module('.x')", "relative import"),
    "typing slip": ("gp/term.py", "from gapkit.kernel.base import Kernel", "no such module"),
    "new room": ("plots.py", "", "not in the drawing"),
    "new room of two": ("shed/tool.py", "import gapkit", "not in the drawing"),
    "circle of two": ("descriptors/base.py", "from gapkit.descriptors.soap import Soap", "circle"),
    "circle through the package": ("descriptors/base.py", "from gapkit.descriptors import Soap", "circle"),
    "circle on the ground": ("typing.py", "from gapkit.errors import GapkitError", "circle"),
    "circle in a wing": ("active/pick.py", "def f():\n    import gapkit.active.loop", "circle"),
    "ase in numerics": ("numerics/radial.py", "from ase.units import GPa", "atoms in numerics"),
    "vesin in numerics": ("numerics/radial.py", "import vesin", "atoms in numerics"),
}


def test_a_sound_house_has_no_faults(tmp_path: Path) -> None:
    assert inspect(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("file", "text", "kind"), WRONG.values(), ids=WRONG)
def test_it_bites(tmp_path: Path, file: str, text: str, kind: str) -> None:
    faults = inspect(build(tmp_path, SOUND | {file: SOUND.get(file, "") + text}))
    found = {(fault.kind, fault.module) for fault in faults}
    module = ".".join(("gapkit", *Path(file).with_suffix("").parts)).removesuffix(".__init__")
    if kind == "circle":  # which of its modules is named does not matter
        assert [fault.kind for fault in faults] == [kind]
        assert module in faults[0].detail.split(" -> ")
    else:
        assert (kind, module) in found
        assert {kind} == {fault.kind for fault in faults}


def test_it_bites_a_folder_that_would_not_be_installed(tmp_path: Path) -> None:
    package = build(tmp_path, SOUND)
    (package / "gp" / "__init__.py").unlink()
    assert ("no __init__.py", "gapkit/gp") in {(fault.kind, fault.module) for fault in inspect(package)}


def test_it_bites_in_the_real_house(tmp_path: Path) -> None:
    package = tmp_path / "gapkit"
    shutil.copytree(GAPKIT, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "units.py").open("a", encoding="utf-8") as file:
        file.write("\nfrom gapkit import _check\n")
    line = len((package / "units.py").read_text(encoding="utf-8").splitlines())
    assert Fault("not below", "gapkit.units", "gapkit._check", line) in inspect(package)
