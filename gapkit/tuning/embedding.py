"""Vectors of the elements (see `SoapTerm`) that suit the data, and how similar they make the elements."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase import Atoms
from tqdm import tqdm

from gapkit import GAP, ConfigError, GapkitWarning, SoapTerm
from gapkit._check import generator, whole
from gapkit.errors import nearest, warn
from gapkit.tuning.figure import save_similarity
from gapkit.typing import FloatArray, Rng

MEASURES: Final = ("evidence", "leave_one_out")

_UNIT: Final = 0.2  # length of the first step; the numbers of the vectors are of order one
_STEP: Final = 1e-3  # of a difference quotient
_TOLERANCE: Final = 1e-6  # relative gain of a step that is not worth another


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors of the elements.

    Attributes
    ----------
    vectors
        {symbol: K numbers}, as `SoapTerm` takes them for its `embedding`.
    history
        What was maximised, at the start and after each step: the log evidence, or minus the leave-one-out error in
        eV/Å (eV/atom without forces). Empty for vectors that were not learned.
    """

    vectors: Mapping[str, Sequence[float]]
    history: tuple[float, ...] = ()

    @property
    def species(self) -> tuple[str, ...]:
        """The elements, in the order of `similarity`."""
        return tuple(self.vectors)

    @property
    def similarity(self) -> FloatArray:
        """Cosines of the vectors, shape (S, S): 1 for elements that the descriptor takes for one another."""
        u_sk = np.array([self.vectors[symbol] for symbol in self.species], dtype=float)
        u_sk /= np.linalg.norm(u_sk, axis=1)[:, None]
        return u_sk @ u_sk.T

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write a figure of the similarities, in the format of the file name."""
        save_similarity(self.species, self.similarity, path)

    def __str__(self) -> str:
        """The similarities as a table."""
        lines = ["similarity " + "".join(f"{symbol:>7}" for symbol in self.species)]
        for symbol, row_s in zip(self.species, self.similarity, strict=True):
            lines.append(f"{symbol:>10} " + "".join(f"{value:7.2f}" for value in row_s))
        return "\n".join(lines)


def element_similarity(model: GAP) -> Embedding:
    """The embedding of a fitted model, of its first term that has one.

    Raises
    ------
    NotFittedError, ConfigError
    """
    if not hasattr(model, "state_"):
        from gapkit import NotFittedError  # slow to load

        raise NotFittedError("this GAP has not been fitted", fix="call fit(frames), or look at the terms themselves")
    state = model.state_
    for settings, term in zip(state.settings, state.terms, strict=True):
        if isinstance(settings, SoapTerm):
            vectors = settings.settings(term)["embedding"]
            if vectors is not None:
                return Embedding(vectors)
    raise ConfigError("no term of the model has an embedding", fix="give SoapTerm embedding=2, or vectors")


def learn_embedding(
    model: GAP,
    frames: Iterable[Atoms],
    *,
    by: str = "evidence",
    n_frames: int = 20,
    n_sparse: int = 100,
    n_steps: int = 15,
    rng: Rng = 0,
) -> Embedding:
    """Vectors of the elements that explain the data best.

    The evidence, or the leave-one-out error, of small fits is maximised over all K·S numbers, from the vectors that the
    model has: by L-BFGS with difference quotients, each step about K·S + 2 small fits on the same environments. Only
    the ratio of the lengths matters, so that their mean square is kept at one. Ctrl-C stops and keeps the best vectors.

    Parameters
    ----------
    model
        Fitted or not, with `SoapTerm`s that have an embedding; they get the same vectors. It is not changed. Its terms
        and noise are those of the small fits, but for the sparse points.
    frames
        Labelled structures.
    by
        ``evidence``: log marginal likelihood; ``leave_one_out``: minus the rms error of forces (of energies per atom,
        where there are no forces), which takes several times as long.
    n_frames
        Structures that the small fits use, drawn from `frames` so that every element is there; single atoms are all
        used and do not count.
    n_sparse
        Sparse points of every SOAP term in them.
    n_steps
        Steps of L-BFGS at most.
    rng
        Generator or seed of the choice of structures and sparse points.

    Raises
    ------
    ConfigError
        The model has no explicit term with an embedding, or terms with different numbers of channels.
    """
    if by not in MEASURES:
        raise ConfigError(f"by='{by}' does not exist", fix=nearest(by, MEASURES))
    n_frames, n_sparse, n_steps = whole("n_frames", n_frames), whole("n_sparse", n_sparse), whole("n_steps", n_steps)
    random = generator(rng)
    some = _drawn(list(frames), n_frames, random)
    return _maximised(_Trial(model, some, n_sparse, by, int(random.integers(2**31))), n_steps)


def _drawn(frames: list[Atoms], n: int, random: np.random.Generator) -> list[Atoms]:
    """n structures with all elements, as far as n allows, and all single atoms."""
    alone = [atoms for atoms in frames if len(atoms) == 1]
    rest = [atoms for atoms in frames if len(atoms) > 1]
    rest = [rest[k] for k in random.permutation(len(rest))]
    seen: set[int] = set()
    new = []
    for atoms in rest:
        numbers = set(atoms.numbers.tolist())
        new.append(not numbers <= seen)
        seen |= numbers
    first = np.argsort(~np.array(new, dtype=bool), kind="stable")[:n]
    return alone + [rest[k] for k in first]


def _width(embedding: Any) -> int:
    """Number of channels of the embedding of a term."""
    return len(next(iter(embedding.values()))) if isinstance(embedding, Mapping) else int(embedding)


class _Trial:
    """Small fits whose SOAP terms have other vectors."""

    def __init__(self, model: GAP, frames: list[Atoms], n_sparse: int, by: str, seed: int) -> None:
        embedded = [t for t in model.terms or () if isinstance(t, SoapTerm) and t.embedding is not None]
        if not embedded:
            fix = "give GAP terms, of which a SoapTerm has embedding=2, or vectors"
            raise ConfigError("the model has no explicit term with an embedding to start from", fix=fix)
        self._model, self._frames, self._n_sparse, self._by, self._seed = model, frames, n_sparse, by, seed
        self.start = element_similarity(self.fitted(None)).vectors
        k = len(next(iter(self.start.values())))
        if any(_width(term.embedding) != k for term in embedded):
            raise ConfigError("the terms differ in the number of their channels", fix="give all the same embedding")

    def fitted(self, vectors: Mapping[str, Sequence[float]] | None) -> GAP:
        """A fit with these vectors, or those that the terms have."""
        given: Sequence[Any] = self._model.terms or ()
        terms = []
        for term in given:
            params = term.get_params(deep=False)
            if isinstance(term, SoapTerm):
                params |= {"n_sparse": self._n_sparse, "method": "uniform", "quotas": None}
                if vectors is not None and term.embedding is not None:
                    params["embedding"] = vectors
            terms.append(type(term)(**params))
        settings = {**self._model.get_params(deep=False), "terms": terms}
        if hasattr(self._model, "state_"):
            settings |= {"noise": self._model.state_.noise}
        return GAP(**settings).fit(self._frames, rng=self._seed)

    def value(self, vectors: Mapping[str, Sequence[float]]) -> float:
        """What is to be large."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GapkitWarning)  # the same in every fit; the first one has said it
            fitted = self.fitted(vectors)
        if self._by == "evidence":
            return fitted.log_evidence_
        found = fitted.leave_one_out(self._frames)
        errors = found["forces" if "forces" in found else "energy"].error_xc
        return -float(np.sqrt(np.mean(errors**2)))


def _maximised(trial: _Trial, n_steps: int) -> Embedding:
    """The best vectors that were met."""
    from scipy.optimize import minimize

    start_sk = np.array(list(trial.start.values()))
    best: tuple[float, Mapping[str, Sequence[float]]] = (-np.inf, trial.start)
    history: list[float] = []

    def loss(x: FloatArray) -> float:
        nonlocal best
        u_sk = x.reshape(start_sk.shape)
        u_sk = u_sk * np.sqrt(len(u_sk)) / np.linalg.norm(u_sk)
        vectors = dict(zip(trial.start, u_sk.tolist(), strict=True))
        found = trial.value(vectors)
        if found > best[0]:
            best = found, vectors
        return -found

    with tqdm(total=n_steps, desc="learn", unit="step", disable=None) as bar:

        def step(_: FloatArray) -> None:
            history.append(best[0])
            bar.update()
            bar.set_postfix_str(f"{best[0]:.6g}")

        try:
            start_x = start_sk.ravel() * np.sqrt(len(start_sk)) / np.linalg.norm(start_sk) / _UNIT
            history.append(-loss(start_x))
            options = {"maxiter": n_steps, "eps": _STEP / _UNIT, "ftol": _TOLERANCE}
            minimize(loss, start_x, method="L-BFGS-B", callback=step, options=options)
        except KeyboardInterrupt:
            warn("learning was interrupted; the best vectors so far are kept")
    return Embedding(best[1], tuple(history))
