"""Entry point of `gapkit`: the options, and which command they belong to."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gapkit import Noise, __version__
from gapkit.cli import calibrate, check, evaluate, extend, fit, info, md, predict, scan, tune
from gapkit.cli.messages import complain, messages
from gapkit.cli.options import Parser, amount, number, positive, sigma
from gapkit.errors import GapkitError
from gapkit.model.defaults import default_terms
from gapkit.tuning.trial import NOISES, SCORES
from gapkit.tuning.tune import LEAVE

_EPILOG = """\
examples:
  gapkit check train.xyz --test test.xyz                faults of the data, before any fit
  gapkit fit train.xyz -o si.gap                        everything chosen from the data
  gapkit tune train.xyz -o best.toml --budget 10min     settings by evidence and errors, for gapkit fit --config
  gapkit evaluate si.gap test.xyz --plot parity.png     errors on structures that it has not seen
  gapkit predict si.gap new.xyz -o out.xyz --std        energies, forces, stresses and their sigma, to a file
  gapkit extend si.gap more.xyz -o more.gap             new data, new elements, another functional
  gapkit scan si.gap new.xyz --plot front.png           weigh energies, forces and stresses against one another
  gapkit calibrate si.gap new.xyz                       sigma that agree with errors, stored in si.gap
  gapkit md si.gap si.xyz --temperature 600 --steps 10000 --flag 0.15 -o traj.xyz
  gapkit info si.gap                                    what the file holds

Errors end with status 2 and one line that says what, where and how to mend it; -v adds the traceback.
"""

_CHECK_EPILOG = """\
examples:
  gapkit check train.xyz
  gapkit check bulk.xyz surfaces.xyz --test test.xyz --json findings.json

It finds: files and frames that cannot be used; misspelt, missing and contradicting labels; energies per atom, in
another unit, of two methods, or off those of similar structures; isolated atoms that do not belong; forces and stresses
of wrong sign, unit or order, in all or some frames of a config_type, judged by the energies of similar and of strained
structures; net forces; short bonds; lost cells; elements of one or two frames; odd volumes and forces; copies, near
copies, and test frames that the fit has seen. Each finding has the frames, counted from 0 in each file, the numbers
that show it, and a fix. An error: a fit would fail or learn something wrong. A warning: likely a fault. A note: good to
know. What no similar frame can judge is judged by size alone, or not at all.

The status is 1 if there are errors, 0 with warnings or notes alone, 2 if the options are wrong.
"""

_CALIBRATE_EPILOG = """\
examples:
  gapkit calibrate si.gap new.xyz --plot reliability.png
  gapkit calibrate si.gap train.xyz --leave-one-out -o calibrated.gap

With frames that were not in the fit, sigma hold for structures like them. With --leave-one-out each training frame is
judged by the model without it and, if the model was fitted with --keep-data, also by the model without its config_type:
that shows errors far from the data. Without -o the model file is replaced.
"""

_MD_EPILOG = """\
examples:
  gapkit md si.gap si.xyz --temperature 600 --steps 10000 --flag 0.15 -o traj.xyz
  gapkit md si.gap si.xyz --temperature 600 --steps 20000 --flag 0.15 -o traj.xyz --restart

--flag takes eV/Å ('0.15'; also '5 meV/atom'), 'auto' (from the calibration) or 'none'; it is compared with the
calibrated sigma of the force on an atom, rms over components. Without it: 'auto' for a calibrated model, else 'none'.
Atoms too near each other, forces above 50 eV/Å and forces that are no numbers are always flagged, each excursion once.

traj.xyz gets positions, momenta, energy, forces and step; traj.flags.xyz gets the flagged frames without energy and
forces, to be computed with the reference method, with sigma per atom and the reason. --action stop ends with status 3.
--restart continues from the last complete frame of -o to the total number of steps, at constant energy as if it had not
been interrupted (to the 8 digits of the file); a thermostat goes on with other random numbers. Give the same START.xyz.
Velocities are those of START.xyz, if it has any, else thermal ones.
"""

_FIT_EPILOG = """\
examples:
  gapkit fit train.xyz -o si.gap
  gapkit fit bulk.xyz surfaces.xyz -o si.gap --n-sparse 1000 --r-cut 5.4 --sigma-forces 0.05 --sigma-stress none
  gapkit fit train.xyz -o si.gap --config si.toml --seed 1

configuration file (TOML; command-line options win over it; every table and key may be left out):
  seed = 0                    # these three above the first table
  jobs = 4
  max_memory = "2GB"
  [[terms]]                   # terms replace the default ones and add up
  type = "pair"               # r_cut (Å), n_sparse, theta (Å), width (Å), delta (eV)
  r_cut = 5.0
  [[terms]]
  type = "triplet"            # r_cut (Å), n_sparse, theta (Å, or three of them), width (Å), delta (eV)
  r_cut = 3.5
  [[terms]]
  type = "soap"               # zeta, n_sparse (number, or {Si = 500}), delta (eV), method, quotas, engine
  zeta = 4
  [terms.soap]                # dscribe's own arguments; chosen from the data without this table
  r_cut = 5.0
  n_max = 8
  l_max = 6
  sigma = 0.5
  weighting = {function = "poly", r0 = 5.0, c = 1.0, m = 1.0}
  [[terms]]
  type = "acsf"               # n_sparse (number, or {Si = 500}), theta, delta (eV), method
  [terms.acsf]                # dscribe's own arguments; functions are chosen for r_cut where none are given
  r_cut = 5.0
  g2_params = [[1.0, 2.0]]    # g3_params, g4_params, g5_params
  [[baselines]]               # known physics; these replace the default, a "zbl" repulsion of close atoms
  type = "coulomb"            # charges ({Na = 1, Cl = -1}, "oxidation", "initial_charges"), scale (or "fit"), excess,
  charges = "oxidation"       #   width (Å), vacuum (Å); also "zbl", "cohesion", "dispersion" (functional), "external"
  [noise]                     # eV/atom, eV/Å, eV/atom; "none" leaves a kind out
  energy = 0.001
  [noise.groups.Surface]      # for one config_type
  stress = "none"
  [keys]                      # names of the labels, as in gapkit.Keys
  energy = "dft_energy"
  [e0]                        # energies of isolated atoms, eV
  Si = -0.1

--r-cut, --n-max, --l-max, --zeta and --n-sparse set the SOAP term; if the configuration file has several, or
none, they are refused. --r-cut also moves r0 of a "poly" weighting that ended at the old cutoff, and without
[[terms]] it also sets the cutoff of the pair term.
"""


_PREDICT_EPILOG = """\
The structures are written as they were read, with gapkit_energy (eV) and gapkit_stress (eV/Å³, tension positive, xx yy
zz yz xz xy) for each, and gapkit_forces (eV/Å) for each atom: names that no fit takes for labels. With --std also
gapkit_energy_std, gapkit_forces_std, gapkit_stress_std, calibrated if the model is, and gapkit_extrapolation (0 ... 1).
"""


_EXTEND_EPILOG = """\
examples:
  gapkit extend si.gap surfaces.xyz -o more.gap
  gapkit extend mo.gap alloy.xyz -o mota.gap --n-sparse 600         a new element; the old frames are not needed
  gapkit extend pbe.gap scan.xyz -o scan.gap --fine-tune            few labels of another functional

The old sparse points stay. The old data count through what the model knows of them: their compressed rows if it was
fitted with --keep-data, else its posterior; with --old-frames they are read again, which is a fresh fit on all points.
With --fine-tune the model is the prior mean of the new energy surface; energies alone are enough.
[keys] and [e0] of the configuration file are those of the new frames. A calibration is dropped.
"""


_TUNE_EPILOG = """\
examples:
  gapkit tune train.xyz -o best.toml
  gapkit tune train.xyz -o best.toml --space zeta=2,4,6 --space r_cut=5,6 --budget 10min --resume trials.jsonl
  gapkit tune train.xyz -o best.toml --config start.toml --space soap1__sigma=0.3,0.5 --model-out best.gap

Each trial is one fit, from which follow the log evidence and the errors of all training frames as if each of them, or
the trajectory of each, had not been in it. --space names settings of the SOAP term: zeta, n_sparse, r_cut, n_max,
l_max, sigma, m (exponent of the weighting), compression, embedding, ...; pair__r_cut is one of the pair term. Values
of the start are always tried; without --space, values about them are. All zeta and n_sparse share one pass over the
data. All settings are tried if the budget has room, else one setting after the other. Ctrl-C keeps the trials so far;
with --resume they are in a file, and the same command goes on from there. Energies and forces weigh alike in the
choice: 1 % is 1 % of either.
"""


_SCAN_EPILOG = """\
examples:
  gapkit scan si.gap new.xyz --plot front.png
  gapkit scan si.gap new.xyz --max energy=2.2 -o best.gap     least error of forces with energies within 2.2 meV/atom
  gapkit scan si.gap new.xyz --objectives energy,forces,stress_rmse --grid 300 --json front.json

The model must have been fitted with --keep-data: every model of the scan is a re-solve with other sigma, and no kernel
is evaluated. The first is the model as it is, the second has the sigma that make its training labels most probable.
FRAMES.xyz must not have been in the fit. Units: meV/atom, eV/Å, GPa; mean absolute errors unless a name ends in _rmse.
With -o and no --max, the model with the smallest product of the objectives is written.
"""


_GIVEN_SIGMA = """\
If one sigma is given, the others are not chosen from the data, but have the values in brackets; 'none' alone leaves the
choice of the others if 16 frames or more are fitted with default terms.
"""


def _command(commands: Any, module: Any, epilog: str = "") -> argparse.ArgumentParser:
    """A subparser with what all commands share; what it does is said by the module's `run`."""
    name = module.__name__.rpartition(".")[2]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=module.run.__doc__,
        description=module.run.__doc__,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=module.run)
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done; tracebacks of errors")
    return parser


def _add_fit(commands: Any) -> None:
    parser = _command(commands, fit, _FIT_EPILOG)
    parser.add_argument("train", nargs="+", metavar="TRAIN.xyz", help="labelled structures, any format that ASE reads")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL.gap", help="model file to write")
    parser.add_argument("--config", metavar="C.toml", help="settings, see below")
    group = parser.add_argument_group("settings (in brackets: what is used where none is given)", _GIVEN_SIGMA)
    usual = {name: parameter.default for name, parameter in inspect.signature(default_terms).parameters.items()}
    usual |= {f"sigma_{kind}": sigma for kind, sigma in Noise().get_params().items()}

    def setting(option: str, convert: Callable[[str], Any], metavar: str, text: str) -> None:
        # one that is not given must not exist, since None means "left out" for a sigma
        text = text.format(**usual)
        group.add_argument(option, type=convert, metavar=metavar, help=text, default=argparse.SUPPRESS)

    setting("--n-sparse", number(1), "N", "sparse points of the SOAP term, all species together [from the data]")
    setting("--r-cut", positive, "R", "cutoff, Å [from the data]")
    setting("--n-max", number(1), "N", "radial functions of SOAP [{n_max}]")
    setting("--l-max", number(0), "L", "largest angular momentum of SOAP [{l_max}]")
    setting("--zeta", number(1), "Z", "power of the kernel [{zeta}]")
    setting(
        "--sigma-energy",
        sigma,
        "S",
        "sigma of energies, eV/atom; 'none' leaves them out [from the data, or {sigma_energy}]",
    )
    setting(
        "--sigma-forces", sigma, "S", "sigma of force components, eV/Å, or 'none' [from the data, or {sigma_forces}]"
    )
    setting("--sigma-stress", sigma, "S", "sigma of virials, eV/atom, or 'none' [from the data, or {sigma_stress}]")
    setting("--seed", number(0), "K", "seed of the choice of sparse points [0]")
    setting("--jobs", number(1, also=-1), "J", "threads, -1 for all cores [one per core, at most 8]")
    setting("--max-memory", amount, "SIZE", "ceiling on memory beside the structures, such as 2GB [none]")
    parser.add_argument("--keep-data", action="store_true", help="store what GAP.refit needs, for other sigmas later")


def _add_check(commands: Any) -> None:
    parser = _command(commands, check, _CHECK_EPILOG)
    parser.add_argument("frames", nargs="+", metavar="DATA.xyz", help="labelled structures, any format that ASE reads")
    parser.add_argument("--test", nargs="+", default=[], metavar="TEST.xyz", help="structures that will test the fit")
    parser.add_argument("--config", metavar="C.toml", help="configuration file of which [keys] names the labels")
    parser.add_argument("--json", metavar="FILE", help="write findings and summary as JSON")


def _add_evaluate(commands: Any) -> None:
    parser = _command(commands, evaluate)
    parser.add_argument("model", metavar="MODEL.gap", help="model file")
    parser.add_argument("test", nargs="+", metavar="TEST.xyz", help="labelled structures, any format that ASE reads")
    parser.add_argument("--json", metavar="FILE", help="write the errors as JSON (meV/atom, eV/Å, GPa)")
    parser.add_argument("--plot", metavar="FILE.png", help="draw predictions against labels (.png, .pdf, .svg)")
    parser.add_argument("--config", metavar="C.toml", help="configuration file of which [keys] names the labels")
    parser.add_argument("--jobs", type=number(1, also=-1), metavar="J", help="processes [one per core, at most 8]")


def _add_predict(commands: Any) -> None:
    parser = _command(commands, predict, _PREDICT_EPILOG)
    parser.add_argument("model", metavar="MODEL.gap", help="model file")
    parser.add_argument(
        "frames", metavar="FRAMES.xyz", help="structures, any format that ASE reads; labels are not needed"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT.xyz", help="extended XYZ to write")
    parser.add_argument("--std", action="store_true", help="standard deviations, too, which take far longer")
    parser.add_argument("--jobs", type=number(1, also=-1), metavar="J", help="processes [one per core, at most 8]")


def _add_extend(commands: Any) -> None:
    parser = _command(commands, extend, _EXTEND_EPILOG)
    parser.add_argument("model", metavar="MODEL.gap", help="model file")
    parser.add_argument("frames", nargs="+", metavar="NEW.xyz", help="labelled structures that are not in the fit")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.gap", help="model file to write")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--old-frames", nargs="+", default=[], metavar="OLD.xyz", help="all frames of the fit")
    how.add_argument("--fine-tune", action="store_true", help="the labels are of another reference method")
    parser.add_argument("--n-sparse", type=number(1), metavar="N", help="new sparse points [from those it has]")
    parser.add_argument("--config", metavar="C.toml", help="configuration file of which [keys] and [e0] are used")
    parser.add_argument("--keep-data", action="store_true", help="store what GAP.refit needs, for other sigmas later")
    parser.add_argument("--jobs", type=number(1, also=-1), metavar="J", help="threads [one per core, at most 8]")
    parser.add_argument("--seed", type=number(0), default=0, metavar="K", help="of the choice of sparse points [0]")


def _add_calibrate(commands: Any) -> None:
    parser = _command(commands, calibrate, _CALIBRATE_EPILOG)
    parser.add_argument("model", metavar="MODEL.gap", help="model file")
    parser.add_argument("frames", metavar="FRAMES.xyz", help="labelled structures, 5 or more, better 20")
    parser.add_argument("-o", "--output", metavar="OUT.gap", help="calibrated model [replaces MODEL.gap]")
    parser.add_argument("--leave-one-out", action="store_true", help="FRAMES.xyz are training frames")
    parser.add_argument("--plot", metavar="FIG.png", help="draw how sigma and errors agree (.png, .pdf, .svg)")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON (meV/atom, eV/Å, GPa)")
    parser.add_argument("--config", metavar="C.toml", help="configuration file of which [keys] names the labels")
    parser.add_argument("--jobs", type=number(1, also=-1), metavar="J", help="processes [one per core, at most 8]")
    parser.add_argument("--seed", type=number(0), default=0, metavar="K", help="seed of the five folds [0]")


def _add_tune(commands: Any) -> None:
    parser = _command(commands, tune, _TUNE_EPILOG)
    parser.add_argument("train", nargs="+", metavar="TRAIN.xyz", help="labelled structures, any format that ASE reads")
    parser.add_argument("-o", "--output", required=True, metavar="BEST.toml", help="settings to write")
    parser.add_argument("--config", metavar="C.toml", help="settings to start from, as for gapkit fit")
    parser.add_argument("--space", action="append", metavar="NAME=V,V", help="values to try, see below; more than once")
    parser.add_argument("--budget", metavar="B", help="time, such as 90s, 10min, 2h, or number of trials [none]")
    parser.add_argument("--resume", metavar="FILE", help="file of the trials, continued if it exists")
    parser.add_argument("--score", choices=SCORES, default=SCORES[0], help="what is best [%(default)s]")
    parser.add_argument("--leave", choices=LEAVE, default=LEAVE[0], help="what is left out together [%(default)s]")
    text = "sigma of the trials: that of the start, or of each kind at the maximum of the evidence [%(default)s]"
    parser.add_argument("--noise", choices=NOISES, default=NOISES[0], help=text)
    parser.add_argument("--model-out", metavar="BEST.gap", help="fit with the best settings, and write the model")
    parser.add_argument("--keep-data", action="store_true", help="store in it what GAP.refit needs")
    parser.add_argument("--plot", metavar="FILE.png", help="draw errors against evidence (.png, .pdf, .svg)")
    parser.add_argument("--json", metavar="FILE", help="write all trials as JSON (meV/atom, eV/Å, GPa)")
    usual = argparse.SUPPRESS
    parser.add_argument("--n-sparse", type=number(1), metavar="N", default=usual, help="of the start [from the data]")
    parser.add_argument("--seed", type=number(0), metavar="K", default=usual, help="of the choice of points [0]")
    parser.add_argument("--jobs", type=number(1, also=-1), metavar="J", default=usual, help="threads, as for fit")


def _add_scan(commands: Any) -> None:
    parser = _command(commands, scan, _SCAN_EPILOG)
    parser.add_argument("model", metavar="MODEL.gap", help="model file with its data")
    parser.add_argument("frames", metavar="FRAMES.xyz", help="labelled structures that were not in the fit")
    parser.add_argument("-o", "--output", metavar="BEST.gap", help="write the chosen model")
    parser.add_argument("--grid", type=number(2), default=100, metavar="N", help="number of models [100]")
    usual = "energy,forces"
    parser.add_argument("--objectives", default=usual, metavar="A,B", help="what is to be small [%(default)s]")
    parser.add_argument("--max", action="append", metavar="NAME=X", help="bound on the chosen model; more than once")
    parser.add_argument("--plot", metavar="FIG.png", help="draw the front (.png, .pdf, .svg)")
    parser.add_argument("--json", metavar="FILE", help="write all models as JSON (meV/atom, eV/Å, GPa)")
    parser.add_argument("--config", metavar="C.toml", help="configuration file of which [keys] names the labels")
    parser.add_argument("--jobs", type=number(1, also=-1), metavar="J", help="threads [one per core, at most 8]")


def _add_info(commands: Any) -> None:
    _command(commands, info).add_argument("model", metavar="MODEL.gap", help="model file")


def _add_md(commands: Any) -> None:
    parser = _command(commands, md, _MD_EPILOG)
    parser.add_argument("model", metavar="MODEL.gap", help="model file")
    parser.add_argument("start", metavar="START.xyz", help="structure, any format that ASE reads; the last frame")
    parser.add_argument("-o", "--output", required=True, metavar="TRAJ.xyz", help="trajectory, extended XYZ")
    parser.add_argument("--temperature", type=positive, required=True, metavar="T", help="K; of nve, at the start")
    parser.add_argument("--steps", type=number(1), required=True, metavar="N", help="total number of steps")
    parser.add_argument("--flag", metavar="LIMIT", help="largest sigma, eV/Å, or 'auto' or 'none', see below")
    parser.add_argument("--miss-rate", type=positive, default=0.05, metavar="P", help="of auto: errors missed [0.05]")
    parser.add_argument("--action", choices=["record", "save", "stop"], default="save", help="what a flag does [save]")
    parser.add_argument("--every", type=number(1), default=1, metavar="K", help="steps between two looks [1]")
    parser.add_argument("--max-temperature", type=positive, metavar="T", help="flag above it, K [none]")
    parser.add_argument("--timestep", type=positive, metavar="DT", help="fs [1; 0.5 with hydrogen]")
    parser.add_argument("--thermostat", choices=["langevin", "nve"], default="langevin", help="[langevin]")
    parser.add_argument("--friction", type=positive, default=0.01, metavar="G", help="of langevin, 1/fs [0.01]")
    parser.add_argument("--interval", type=number(1), default=10, metavar="N", help="steps between two frames [10]")
    parser.add_argument("--restart", action="store_true", help="continue -o if it exists")
    parser.add_argument("--seed", type=number(0), default=0, metavar="K", help="of velocities and thermostat [0]")
    parser.add_argument("--jobs", type=number(1, also=-1), default=1, metavar="J", help="processes [1]")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="gapkit",
        description="Gaussian Approximation Potentials. Energies eV, lengths Å, forces eV/Å, stresses GPa.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gapkit {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    adders = [_add_check, _add_fit, _add_tune, _add_evaluate, _add_predict, _add_extend]
    adders += [_add_scan, _add_calibrate, _add_md, _add_info]
    for add in adders:
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    The status is 0, 1 after a check that found errors, 2 after an error of the user, 3 after a flag that stops, 130
    after Ctrl-C.
    """
    arguments = build_parser().parse_args(argv)
    with messages(arguments.verbose):
        try:
            status: int | None = arguments.run(arguments)
            sys.stdout.flush()
        except GapkitError as error:
            complain(error, arguments.verbose)
            return 2
        except KeyboardInterrupt:
            print("\ngapkit: interrupted; no file was left half-written", file=sys.stderr)
            return 130
        except BrokenPipeError:  # whoever read our output has gone, as in `gapkit info si.gap | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
    return status or 0
