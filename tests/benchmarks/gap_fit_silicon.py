"""The peer's fit that gapkit is compared with: python tests/benchmarks/gap_fit_silicon.py ENVIRONMENT

ENVIRONMENT is a virtual environment of its own with quippy-ase installed. Its gap_fit is run on
data/silicon (about 8 CPU minutes and 4 GB on one core); printed are its CPU time, peak memory and
errors on the test split. Its sparse points are drawn at random, so errors differ from run to run.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "silicon"
SOAP = (
    "soap l_max=8 n_max=8 atom_sigma=0.5 zeta=4 cutoff=5.4 cutoff_transition_width=0.5 delta=1.0 f0=0.0 "
    "n_sparse=1000 covariance_type=dot_product sparse_method=cur_points"
)
SETTINGS = [
    f"gap={{{SOAP}}}",
    "default_sigma={0.0005 0.1 0.05 0.0}",
    "e0_method=average",
    "energy_parameter_name=energy",
    "force_parameter_name=forces",
    "virial_parameter_name=none",
    "stress_parameter_name=none",
    "sparse_jitter=1e-8",
    "do_copy_at_file=F",
    "sparse_separate_file=T",
]
EVALUATE = """
import sys, ase.io, numpy as np
from quippy.potential import Potential
potential = Potential(param_filename="gp.xml")
energy, forces = [], []
for atoms in ase.io.read(sys.argv[1], ":"):
    copy = atoms.copy()
    copy.calc = potential
    energy.append(1e3 * abs(copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
    forces.append(np.abs(copy.get_forces() - atoms.get_forces()).ravel())
print(f"E MAE {np.mean(energy):.2f} meV/atom, F MAE {np.concatenate(forces).mean():.4f} eV/A")
"""


def main(environment: Path) -> None:
    """Fit, then evaluate, each in a process of the peer's environment."""
    # the peer must not read our labels of stress, and writes an index beside its input
    text = (DATA / "train.xyz").read_text().replace(" stress=", " unused=")
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.xyz").write_text(text)
        command = [environment / "bin" / "gap_fit", "at_file=train.xyz", *SETTINGS, "gp_file=gp.xml"]
        log = subprocess.run(command, cwd=folder, env=one_thread, capture_output=True, text=True)
        if log.returncode:
            sys.exit(log.stdout[-2000:] + log.stderr[-2000:])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"gap_fit {used.ru_utime + used.ru_stime:.0f} CPU s, {used.ru_maxrss / 1e6:.1f} GB", flush=True)
        python = environment / "bin" / "python"
        subprocess.run([python, "-c", EVALUATE, DATA / "test.xyz"], cwd=folder, env=one_thread, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
