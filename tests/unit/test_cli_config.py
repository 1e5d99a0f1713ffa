"""The configuration file: every table, every unknown name, every wrong type, with the file in the message."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from gapkit import ConfigError, Keys
from gapkit.cli.config import Config, read_config

FULL = """
seed = 3
jobs = 2
max_memory = "2GB"
[[terms]]
type = "pair"
r_cut = 4.0
theta = 0.7
[[terms]]
type = "soap"
zeta = 2
n_sparse = {Si = 20}
[terms.soap]
r_cut = 3.6
n_max = 3
l_max = 2
sigma = 0.5
weighting = {function = "poly", r0 = 3.6, c = 1, m = 1}
compression = {mode = "mu2"}
[terms.quotas]
crystal = 0.5
[noise]
energy = 0.002
stress = "none"
[noise.groups.crystal]
forces = 0.05
energy = "None"
[keys]
energy = "dft_energy"
sigma_per_atom = true
[e0]
Si = -0.1
C = 2
"""


def read(folder: Path, text: str) -> Config:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(str(path))


def test_everything_that_a_file_can_say(tmp_path: Path) -> None:
    config = read(tmp_path, FULL)
    assert (config.seed, config.jobs, config.max_memory) == (3, 2, "2GB")
    assert config.noise == {"energy": 0.002, "stress": None}
    assert config.groups == {"crystal": {"forces": 0.05, "energy": None}}
    assert config.keys == Keys(energy="dft_energy", sigma_per_atom=True)
    assert config.e0 == {"Si": -0.1, "C": 2.0}
    pair, soap = config.terms
    assert pair == {"type": "pair", "r_cut": 4.0, "theta": 0.7}
    assert soap["soap"]["weighting"] == {"function": "poly", "r0": 3.6, "c": 1, "m": 1}
    assert soap["quotas"] == {"crystal": 0.5}


def test_nothing(tmp_path: Path) -> None:
    assert read_config(None) == Config()
    path = str(tmp_path / "c.toml")
    assert read(tmp_path, "") == Config(path=path)
    assert read(tmp_path, "# words only\n[noise]\n[keys]\n[e0]\n") == Config(path=path)


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("sead = 1", "unknown key 'sead' at the top", "did you mean 'seed'"),
        ("[nois]\nenergy = 1", "unknown key 'nois' at the top", "did you mean 'noise'"),
        ("[noise]\nenergi = 1", "unknown key 'energi' in [noise]", "did you mean 'energy'"),
        ("[noise]\nseed = 1", "unknown key 'seed' in [noise]", "write it above the first table"),
        ("[noise.groups.A]\nforce = 1", "unknown key 'force' in [noise.groups.A]", "did you mean 'forces'"),
        ("[keys]\nenrgy = 'x'", "unknown key 'enrgy' in [keys]", "did you mean 'energy'"),
        ("[[terms]]\ntype = 'soop'", "type 'soop' is unknown in [[terms]] number 1", "did you mean 'soap'"),
        ("[[terms]]\nr_cut = 4", "type is missing in [[terms]] number 1", "pair, soap"),
        (
            "[[terms]]\ntype = 'pair'\n[[terms]]\ntype = 'soap'\nr_cut = 4",
            "unknown key 'r_cut' in [[terms]] number 2 (soap)",
            "write it below [terms.soap]",
        ),
        ("[[terms]]\ntype = 'pair'\nrcut = 4", "unknown key 'rcut'", "did you mean 'r_cut'"),
        ("[[terms]]\ntype = 'soap'\n[terms.soap]\nnmax = 4", "'nmax' in [terms.soap]", "did you mean 'n_max'"),
        (
            "[[terms]]\ntype = 'soap'\n[terms.soap]\nweighting = {func = 'poly'}",
            "'func' in [terms.soap.weighting]",
            "did you mean 'function'",
        ),
        (
            "[[terms]]\ntype = 'soap'\n[terms.soap.compression]\nmod = 'off'",
            "'mod' in [terms.soap.compression]",
            "did you mean 'mode'",
        ),
    ],
)
def test_unknown_names(tmp_path: Path, text: str, what: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(what)) as caught:
        read(tmp_path, text)
    assert fix in caught.value.fix
    assert caught.value.where == str(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("seed = 1.5", "seed=1.5"),
        ("seed = -1", "seed=-1"),
        ("jobs = 0", "0 is no number of threads"),
        ("max_memory = 'all'", "max_memory='all' is no amount of memory"),
        ("noise = 1", "'noise' is 1 where a table is needed"),
        ("[noise]\ngroups = 1", "'noise.groups' is 1"),
        ("[noise.groups]\nA = 1", "'noise.groups.A' is 1"),
        ("[noise]\nenergy = 0", "[noise] energy=0 is not a positive number"),
        ("[noise]\nenergy = 'small'", "[noise] energy='small'"),
        ("[noise]\nenergy = nan", "[noise] energy=nan"),
        ("[noise.groups.A]\nforces = true", "[noise.groups.A] forces=True"),
        ("[keys]\nenergy = 1", "energy=1"),
        ("[keys]\nsigma_per_atom = 'no'", "sigma_per_atom"),
        ("[e0]\nXx = 1.0", "[e0] names 'Xx'"),
        ("[e0]\nX = 1.0", "[e0] names 'X'"),
        ("[e0]\nSi = 'a'", "[e0] Si = 'a'"),
        ("[e0]\nSi = inf", "[e0] Si = inf"),
        ("terms = 'soap'", "'terms' is not a list of tables"),
        ("terms = []", "'terms' is not a list of tables"),
        ("[terms]\ntype = 'soap'", "'terms' is not a list of tables"),
        ("[[terms]]\ntype = 'soap'\nsoap = 4", "'terms.soap' is 4"),
        ("[[terms]]\ntype = ['soap']", "unknown"),
    ],
)
def test_wrong_types_and_values(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(what)) as caught:
        read(tmp_path, text)
    assert caught.value.where == str(tmp_path / "c.toml")


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 3"):
        read(tmp_path, "seed = 1\n[noise]\nenergy = = 3\n")
    with pytest.raises(ConfigError, match=r"does not exist.*none\.toml"):
        read_config(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="is a directory"):
        read_config(str(tmp_path))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"not text in UTF-8.*binary\.toml"):
        read_config(str(tmp_path / "binary.toml"))


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    """As in --config <(sed ... c.toml)."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("seed = 3\n",))
    writer.start()
    assert read_config(str(pipe)).seed == 3
    writer.join()


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied .*c\.toml"):
        read_config(str(tmp_path / "c.toml"))
