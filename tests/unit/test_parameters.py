"""Settings by name: scikit-learn's BaseEstimator is the oracle, its `clone` the user."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from gapkit import GAP, ConfigError, Noise, PairTerm, SoapTerm
from gapkit._parameters import Parametric


def family(base: type) -> SimpleNamespace:
    """The same classes on either base."""

    class Inner(base):
        def __init__(self, width: float = 1.0, *, name: str | None = None) -> None:
            self.width = width
            self.name = name

    class Outer(base):
        def __init__(self, zeta: Any, inner: Any = None, *, alpha: Any = float("nan"), **more: Any) -> None:
            self.zeta = zeta
            self.inner = inner
            self.alpha = alpha

        def fit(self, x: Any, y: Any = None) -> Any:
            return self

    class Heir(Outer):
        pass

    class Bare(base):
        pass

    return SimpleNamespace(Inner=Inner, Outer=Outer, Heir=Heir, Bare=Bare)


OURS, THEIRS = family(Parametric), family(BaseEstimator)
SAMPLES = {
    "defaults": lambda f: f.Outer(1),
    "nested": lambda f: f.Outer(2, f.Inner(0.5, name="a")),
    "two deep": lambda f: f.Outer(2, f.Outer(3, f.Inner())),
    "in a list": lambda f: f.Outer([f.Inner(2.0), f.Inner()]),
    "inherited": lambda f: f.Heir(1, alpha=float("nan")),
    "a class as a value": lambda f: f.Outer(1, f.Inner),
    "an array": lambda f: f.Outer(np.arange(3), alpha=np.float64(2)),
    "without a constructor": lambda f: f.Bare(),
}


def plain(value: Any) -> Any:
    """A value without its identity: estimators as their names and settings, the rest as text."""
    if isinstance(value, dict):
        return [(key, plain(own)) for key, own in value.items()]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__, plain(value.get_params(deep=False))
    return [plain(v) for v in value] if isinstance(value, list) else getattr(value, "__name__", repr(value))


@pytest.mark.parametrize("make", SAMPLES.values(), ids=SAMPLES)
def test_it_is_as_scikit_learn_has_it(make: Any) -> None:
    ours, theirs = make(OURS), make(THEIRS)
    for deep in (True, False):
        assert plain(ours.get_params(deep=deep)) == plain(theirs.get_params(deep=deep))
    assert repr(ours) == repr(theirs)
    assert plain(clone(ours)) == plain(clone(theirs)) == plain(ours)
    assert plain(copy.deepcopy(ours)) == plain(ours)
    for one in (ours, theirs):
        assert clone(one) is not one


SETTINGS: list[dict[str, Any]] = [
    {},
    {"zeta": 5},
    {"inner__width": 3.0, "alpha": 2},
    {"inner": None},
    {"alpha": {"a": 1}, "inner__name": "b", "inner__width": 2.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=map(str, SETTINGS))
def test_settings_end_where_scikit_learn_puts_them(settings: dict[str, Any]) -> None:
    ours, theirs = SAMPLES["nested"](OURS), SAMPLES["nested"](THEIRS)
    assert ours.set_params(**settings) is ours
    assert plain(ours) == plain(theirs.set_params(**settings))


def test_a_new_object_gets_its_settings_whatever_the_order() -> None:
    old, new = OURS.Inner(1.0), OURS.Inner(2.0)
    one = OURS.Outer(1, old).set_params(inner__width=9.0, inner=new)
    assert (one.inner is new, new.width, old.width) == (True, 9.0, 1.0)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    for make in SAMPLES["nested"](OURS), SAMPLES["nested"](THEIRS):
        for wrong in ("zeto", "inner__widht", "more", "", "zeto__x", "inner__"):
            with pytest.raises(ValueError, match=repr(wrong.removeprefix("inner__").removesuffix("__x"))):
                make.set_params(**{wrong: 1})
    with pytest.raises(ConfigError, match=r"Outer has no parameter 'zeto'.*did you mean 'zeta'.*alpha, inner, zeta"):
        SAMPLES["nested"](OURS).set_params(zeto=1)


@pytest.mark.parametrize("name", ["zeta__x", "inner__width"])
def test_settings_of_what_has_none(name: str) -> None:
    for family in (OURS, THEIRS):
        with pytest.raises(AttributeError, match="set_params"):
            family.Outer(1).set_params(**{name: 1})


@pytest.mark.skipif(not hasattr(BaseEstimator, "__sklearn_tags__"), reason="tags are objects from scikit-learn 1.6 on")
def test_tags_are_those_of_an_estimator() -> None:
    from sklearn.utils import get_tags

    assert get_tags(OURS.Outer(1)) == get_tags(THEIRS.Outer(1))


def test_a_notebook_shows_what_scikit_learn_draws() -> None:
    one = SAMPLES["nested"](OURS)
    with config_context(display="diagram"):
        assert "Inner(name=&#x27;a&#x27;, width=0.5)" in (one._repr_html_() or "")
        assert "Outer" in estimator_html_repr(make_pipeline(one))
    with config_context(display="text"):
        assert one._repr_html_() is None


@pytest.mark.parametrize("kind", [GAP, Noise, PairTerm, SoapTerm])
def test_constructors_of_gapkit_only_store(kind: type[Parametric]) -> None:
    assert repr(kind()) == f"{kind.__name__}()"
    marks = {name: object() for name in kind().get_params()}
    one = kind(**marks)
    assert vars(one) == marks
    assert one.get_params() == marks
    assert kind().set_params(**marks).get_params() == marks


def test_settings_survive_pickling() -> None:
    model = GAP([PairTerm(3.5, n_sparse=6)], Noise(0.01, None))
    assert repr(pickle.loads(pickle.dumps(model))) == repr(model)
    assert repr(model) == "GAP(noise=Noise(energy=0.01, forces=None), terms=[PairTerm(n_sparse=6, r_cut=3.5)])"
