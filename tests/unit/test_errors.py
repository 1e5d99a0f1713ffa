"""Every error says what, where and how to fix it; the tree is as drawn."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import sklearn.exceptions

import gapkit
from gapkit import errors
from gapkit._check import generator, not_negative, positive, threads, whole
from gapkit.errors import ConfigError, DataError, GapkitError, GapkitWarning, ModelFileError, NotFittedError, nearest
from tests.samples import frames, model

ROOT = Path(__file__).parents[2]
CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, GapkitError)]


def test_message_has_what_where_and_fix() -> None:
    error = DataError("The energy is NaN.", where="a.xyz, frame 3", fix="delete it.")
    assert str(error) == "The energy is NaN (a.xyz, frame 3). Fix: delete it."
    assert (error.what, error.where, error.fix) == ("The energy is NaN.", "a.xyz, frame 3", "delete it.")
    assert str(DataError("No energy", fix="add one")) == "No energy. Fix: add one."


@pytest.mark.parametrize("kind", CLASSES)
def test_no_error_without_a_fix(kind: type[GapkitError]) -> None:
    with pytest.raises(TypeError, match="fix"):
        kind("Something is wrong")  # type: ignore[call-arg]


def test_the_tree() -> None:
    assert {c.__name__ for c in CLASSES} == {
        "GapkitError",
        "DataError",
        "SpeciesError",
        "ConfigError",
        "NothingInReach",
        "ModelFileError",
        "NotFittedError",
    }
    builtin = {
        "DataError": ValueError,
        "SpeciesError": ValueError,
        "ConfigError": ValueError,
        "ModelFileError": OSError,
    }
    assert all(issubclass(getattr(errors, name), base) for name, base in builtin.items())
    assert issubclass(NotFittedError, sklearn.exceptions.NotFittedError)
    assert issubclass(GapkitWarning, UserWarning)


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_pickling(kind: type[GapkitError]) -> None:
    """They travel between processes in joblib's backends."""
    error = kind("what", where="here", fix="this")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert (str(twin), twin.fix) == (str(error), "this")


def test_not_fitted_error_is_one_class_made_when_asked_for() -> None:
    """It is reached by every way, also as the first that a process hears of it."""
    assert gapkit.NotFittedError is errors.NotFittedError is NotFittedError
    assert (NotFittedError.__module__, NotFittedError.__qualname__) == ("gapkit.errors", "NotFittedError")
    assert NotFittedError.__doc__
    for module in (gapkit, errors):
        assert dir(module).count("NotFittedError") == 1
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'NotFitted'"):
            _ = module.NotFitted
    sent = pickle.dumps(NotFittedError("what", fix="this"))
    names = "assert 'NotFittedError' in dir(gapkit) and 'NotFittedError' in dir(gapkit.errors)"
    program = f"import gapkit, pickle; {names}; raise pickle.loads({sent!r})"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1] == "gapkit.errors.NotFittedError: what. Fix: this."


def test_nearest_name() -> None:
    assert nearest("forcs", ["energy", "forces"]) == "did you mean 'forces'? valid names are energy, forces"
    assert nearest("xyz", {"b", "a"}) == "valid names are a, b"


def test_numbers_in_their_range() -> None:
    assert (positive("x", 2), whole("n", 3, 1, 3), not_negative("skin", 0), threads(-2)) == (2.0, 3, 0.0, -2)
    for wrong in (0, -1, float("nan"), float("inf"), "1", None, True):
        with pytest.raises(ConfigError, match=r"x=.* Fix: give x > 0 Å"):
            positive("x", wrong, "Å")
    for wrong in (0, 4, 1.0, "1", None, True):
        with pytest.raises(ConfigError, match="from 1 to 3"):
            whole("n", wrong, 1, 3)
    for wrong in (-1e-9, float("nan"), float("inf"), "1", None, True):
        with pytest.raises(ConfigError, match="skin="):
            not_negative("skin", wrong)
    for wrong in (0, 1.5, "1", None, True):
        with pytest.raises(ConfigError, match="n_jobs="):
            threads(wrong)


def test_generator_from_what_a_user_gives() -> None:
    given = generator(5)
    assert generator(given) is given
    assert generator(5).random() == generator(5).random() != generator(6).random()
    assert generator(None).random() == generator(0).random()
    for wrong in (-1, 1.5, "0", True):
        with pytest.raises(ConfigError, match="rng="):
            generator(wrong)  # type: ignore[arg-type]


def test_model_file_error_is_an_os_error_that_reads_well() -> None:
    with pytest.raises(OSError, match="damaged") as error:
        raise ModelFileError("the file is damaged", where="a.gap", fix="copy it again")
    assert str(error.value) == "the file is damaged (a.gap). Fix: copy it again."


def test_a_warning_names_the_line_of_the_user() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model().fit(frames()[1:])
    (one,) = [w for w in caught if issubclass(w.category, GapkitWarning)]
    assert Path(one.filename).name == "test_errors.py"
