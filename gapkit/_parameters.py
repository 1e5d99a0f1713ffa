"""Settings by name, as scikit-learn's `clone` and searches use them; scikit-learn itself is slow to load."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from gapkit.errors import ConfigError, nearest

_P = TypeVar("_P", bound="Parametric")


class Parametric:
    """A class whose constructor only stores its arguments under their names: for scikit-learn an estimator.

    Duck-typed, and no `sklearn.base.BaseEstimator`: `get_params`, `set_params` and `repr` do what that class does.
    """

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Names of the arguments in alphabetical order, with their defaults."""
        parameters = sorted(inspect.signature(cls).parameters.items())
        return {name: p.default for name, p in parameters if p.kind is not p.VAR_KEYWORD}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name; with `deep`, also those of each setting that has its own, as ``setting__name``."""
        params: dict[str, Any] = {}
        for name in self._defaults():
            value = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                params |= {f"{name}__{inner}": own for inner, own in value.get_params().items()}
            params[name] = value
        return params

    def set_params(self: _P, **params: Any) -> _P:
        """Change settings by name, ``setting__name`` for those of a setting; returns the object itself.

        Raises
        ------
        ConfigError
            A name that does not exist.
        """
        known = self._defaults()
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, delimiter, inner = key.partition("__")
            if name not in known:
                raise ConfigError(f"{type(self).__name__} has no parameter '{name}'", fix=nearest(name, known))
            if delimiter:
                nested.setdefault(name, {})[inner] = value
            else:
                setattr(self, name, value)
        for name, own in nested.items():  # after the plain ones, which may have replaced the object
            getattr(self, name).set_params(**own)
        return self

    def __repr__(self) -> str:
        """The settings that differ from their default; texts are compared, so that arrays can be too."""
        texts = {name: (repr(getattr(self, name)), repr(default)) for name, default in self._defaults().items()}
        changed = ", ".join(f"{name}={text}" for name, (text, default) in texts.items() if text != default)
        return f"{type(self).__name__}({changed})"

    def _repr_html_(self) -> str | None:
        """The diagram of scikit-learn in a notebook, None where its configuration says text."""
        from sklearn import get_config
        from sklearn.utils import estimator_html_repr

        return estimator_html_repr(self) if get_config()["display"] == "diagram" else None

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn from 1.6 on asks for; before, it assumes the same of a class that says nothing."""
        from sklearn.base import BaseEstimator

        return BaseEstimator().__sklearn_tags__()
