"""The choice of sparse points as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from gapkit._check import whole
from gapkit.numerics.select import select
from gapkit.typing import BoolArray, FloatArray, IntArray


class SparseSelector(TransformerMixin, BaseEstimator):
    """Chooses sparse points among descriptor vectors and maps vectors to kernel features of these points.

    The features φ are those of Nyström: φ(x)·φ(x') is the part of the kernel k(x, x') = (x·x' / |x||x'|)^ζ, that of
    `SoapTerm`, which the points span, and all of it where x is one of them. A linear model on these features, such as
    ``make_pipeline(SparseSelector(300), Ridge(1e-6))``, is a sparse Gaussian process on a property of each environment.

    Parameters
    ----------
    n_sparse
        Number of points. Fewer, with a warning, where there are no more distinct vectors.
    method
        ``farthest_point``, ``leverage`` (CUR), ``kmeans`` or ``uniform``, as in `SoapTerm`.
    zeta
        Power ζ of the kernel, a whole number of at least 1.
    random_state
        Seed or generator of the choice.

    Attributes
    ----------
    indices_
        The rows of X that are sparse points, in the order of the method, shape (M,).
    points_
        Their vectors of length one, shape (M, F).
    n_features_in_
        F.

    Raises
    ------
    ConfigError, DataError
        Settings outside their range; no vectors.
    ValueError
        Vectors that are not finite numbers, as of all estimators of scikit-learn.
    """

    def __init__(
        self, n_sparse: int = 100, *, method: str = "farthest_point", zeta: int = 4, random_state: Any = 0
    ) -> None:
        self.n_sparse = n_sparse
        self.method = method
        self.zeta = zeta
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> SparseSelector:
        """Choose the points among the rows of X, shape (E, F); y is ignored."""
        whole("zeta", self.zeta)
        x_ef = self._unit(self._matrix(X, reset=True))
        indices = select(x_ef, whole("n_sparse", self.n_sparse), self.method, self._seed())
        self.indices_: IntArray = indices
        self.points_: FloatArray = x_ef[indices]
        self._n_rows = len(x_ef)
        values, vectors = np.linalg.eigh((self.points_ @ self.points_.T) ** self.zeta)
        keep = values > len(values) * np.finfo(float).eps * values[-1]
        # the symmetric inverse root: one feature for each point, and finite where points nearly agree
        self._whitening_mm = (vectors[:, keep] / np.sqrt(values[keep])) @ vectors[:, keep].T
        return self

    def transform(self, X: ArrayLike) -> FloatArray:
        """Features of the rows of X, shape (E, F) to (E, M)."""
        check_is_fitted(self, "points_")
        x_ef = self._unit(self._matrix(X, reset=False))
        return (x_ef @ self.points_.T) ** self.zeta @ self._whitening_mm

    def get_support(self, indices: bool = False) -> BoolArray | IntArray:
        """Which rows of the X of `fit` are sparse points, shape (E,), or their indices in rising order."""
        check_is_fitted(self, "points_")
        if indices:
            return np.sort(self.indices_)
        mask_e = np.zeros(self._n_rows, dtype=bool)
        mask_e[self.indices_] = True
        return mask_e

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """sparseselector0, sparseselector1, …: one name for each point."""
        check_is_fitted(self, "points_")
        return np.array([f"sparseselector{m}" for m in range(len(self.points_))], dtype=object)

    def _matrix(self, X: ArrayLike, reset: bool) -> FloatArray:
        """X as finite floats; with `reset` its width is remembered, else compared."""
        try:
            from sklearn.utils.validation import validate_data  # from scikit-learn 1.6 on
        except ImportError:
            x_ef: FloatArray = self._validate_data(X, reset=reset, dtype=np.float64)
            return x_ef
        return validate_data(self, X, reset=reset, dtype=np.float64)

    def _seed(self) -> Any:
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        return self.random_state

    @staticmethod
    def _unit(x_ef: FloatArray) -> FloatArray:
        """Rows of length one; a row of zeros stays, and has no features."""
        length_e = np.linalg.norm(x_ef, axis=1)
        return x_ef / np.where(length_e > 0.0, length_e, 1.0)[:, None]
