"""The model a user holds: settings, and how it learns; `gapkit.model.fitted` is what it answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from gapkit._check import generator, memory, not_negative
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.baselines.base import Baseline
from gapkit.errors import ConfigError
from gapkit.gp.noise import Noise
from gapkit.model.archive import damaged, read
from gapkit.model.choosing import choose
from gapkit.model.extending import extended, fine_tuned, reduced
from gapkit.model.fitted import Fitted
from gapkit.model.fitting import require_kinds
from gapkit.model.kept import KeptRows
from gapkit.model.maximizing import maximized_evidence
from gapkit.model.prepared import Prepared, prepared
from gapkit.model.refits import refitted
from gapkit.model.schema import build
from gapkit.model.settings import check_settings, checked_noise, warn_of_groups
from gapkit.model.state import ModelState, solved
from gapkit.model.terms import Term, require_species
from gapkit.model.thinning import staying, thinned
from gapkit.model.training import trained
from gapkit.typing import Rng


class GAP(Fitted):
    """Gaussian Approximation Potential.

    Parameters
    ----------
    terms
        Any of `SoapTerm`, `PairTerm`, `TripletTerm` and `ACSFTerm`, whose energies add up. None: chosen from the data
        (`gapkit.model.choosing`).
    noise
        σ of the labels. None: those with which left-out frames are predicted best; with terms of yours, `Noise()`
        times a factor learned from the data (evidence).
    baselines
        Known physics that is subtracted before the fit and added again in predictions: `ZBL`, `Cohesion`, `Coulomb`,
        `Dispersion`, `External`. None: `ZBL()`, a repulsion of atoms that are closer than any in the data, which
        leaves the data as they are; with default terms also `Cohesion()`, the mean energy of bound atoms of elements
        whose e0 is that of an isolated atom, without which molecules may collapse. An empty list: none.
    e0
        {symbol: energy of the isolated atom, eV}. None: from single-atom frames, else by least
        squares with a warning.
    keys
        Names of the labels in `info` and `arrays`. None: the usual names.
    n_jobs
        Cores; -1 for all. Threads over structures in a fit; processes, which stay for the next call,
        over structures or over blocks of atoms in a prediction. Results do not depend on it.
    max_memory
        Ceiling on the memory of a fit or a prediction beside structures and model, as text ('2GB') or
        in bytes; block sizes obey it. BLAS and the allocator keep up to 60 MB per thread beside it.
        None: as much as is useful, which does not grow with the data.

    Attributes
    ----------
    state_
        All that was learned; `e0_`, `species_`, `log_evidence_` and `training_` are views of it.
    """

    def __init__(
        self,
        terms: Sequence[Term] | None = None,
        noise: Noise | None = None,
        *,
        baselines: Sequence[Baseline] | None = None,
        e0: Mapping[str | int, float] | None = None,
        keys: Keys | None = None,
        n_jobs: int = 1,
        max_memory: float | str | None = None,
    ) -> None:
        self.terms = terms
        self.noise = noise
        self.baselines = baselines
        self.e0 = e0
        self.keys = keys
        self.n_jobs = n_jobs
        self.max_memory = max_memory

    def prepare(self, frames: Iterable[Atoms] | Iterable[Frame]) -> Prepared:
        """Labelled structures, checked, with what e0 and baselines say of them: for many fits of other terms or noise.

        `fit` takes them in place of the structures, of a model with the same baselines and e0. What SOAP terms that
        differ in ζ or δ alone have in common is not made twice.

        Raises
        ------
        DataError, SpeciesError, ConfigError
            As `fit`.
        """
        check_settings(self.terms, self.e0, self.keys, self.n_jobs, self.max_memory, self.baselines)
        return prepared(self._labelled(frames), self.terms, self.baselines, self.e0, self.keys or Keys())

    def fit(
        self,
        frames: Iterable[Atoms] | Iterable[Frame] | Prepared,
        y: Any = None,
        *,
        rng: Rng = 0,
        keep_rows: bool = False,
    ) -> GAP:
        """Fit to labelled structures.

        Parameters
        ----------
        frames
            Structures with labels; they are not changed. Missing labels are fine. Also a list of
            `Frame`, whose labels are taken as they are, or what `prepare` made of them.
        y
            Ignored; there for scikit-learn.
        rng
            Generator or seed of the choice of sparse points.
        keep_rows
            Whether the rows of the structures, 8 bytes per label and sparse point, stay in memory where there is room
            (`max_memory`; None: 4 GB), so that `leave_one_out_errors` need not make them again. They are not saved.

        Raises
        ------
        DataError, SpeciesError, ConfigError
            With the frame, the atom and the fix.
        """
        checked_noise(self.noise)  # before the work begins
        data = frames if isinstance(frames, Prepared) else self.prepare(frames)
        terms, noise = self.terms, self.noise
        if terms is None:
            given, ceiling = None if noise is None else checked_noise(noise), memory("max_memory", self.max_memory)
            chosen = choose(data, {}, given, n_jobs=self.n_jobs, ceiling=ceiling)
            terms, noise = chosen.terms, chosen.noise
        self.state_, self._rows = self._trained(data, [list(terms)], noise, rng, keep_rows)[0]
        return self

    def fit_each(
        self, terms: Sequence[Sequence[Term]], frames: Prepared, *, rng: Rng = 0, keep_rows: bool = False
    ) -> list[GAP]:
        """New models with other terms, each as `fit` makes it; where terms differ in ζ or δ alone, rows are made once.

        Parameters
        ----------
        terms
            Terms of each model. A term at the same place in several lists that differs in nothing but ζ or δ shares
            sparse points and what these meet, which is most of the time of a fit.
        frames
            What `prepare` made of the structures.
        rng, keep_rows
            As in `fit`.
        """
        models = [type(self)(**{**self.get_params(deep=False), "terms": list(own)}) for own in terms]
        for model, (state, rows) in zip(models, self._trained(frames, terms, self.noise, rng, keep_rows), strict=True):
            model.state_, model._rows = state, rows
        return models

    def _trained(
        self, data: Prepared, each: Sequence[Sequence[Term]], given: Noise | None, rng: Rng, keep_rows: bool
    ) -> list[tuple[ModelState, KeptRows | None]]:
        """What models with these terms and σ, and all other settings of this one, learn from data."""
        noise = checked_noise(given)
        for terms in each:
            check_settings(terms, self.e0, self.keys, self.n_jobs, self.max_memory, self.baselines)
            if not terms:
                raise ConfigError("the model has no terms", fix="give SoapTerm or PairTerm, or terms=None for defaults")
        data.require(self.baselines, self.e0)
        warn_of_groups(noise, {f.group for f in data.frames})
        ceiling = memory("max_memory", self.max_memory)
        return trained(
            data,
            each,
            noise,
            learn_noise=given is None,
            random=generator(rng),
            n_jobs=self.n_jobs,
            ceiling=ceiling,
            keep=KeptRows(ceiling) if keep_rows else None,
        )

    def refit(self, noise: Noise | None = None) -> GAP:
        """Solve again with other noise; no kernel is evaluated and the structures are not needed.

        A calibration belongs to the old noise and is dropped.

        Raises
        ------
        ConfigError
            If the model was saved without its compressed data, or a kind was not in the fit.
        """
        state = self._fitted()
        if state.rows is None:
            raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
        wanted = state.noise if noise is None and self.noise is None else checked_noise(noise, self.noise)
        require_kinds(state.training["left_out"], wanted)
        self.state_ = solved(replace(state, noise=wanted, calibration=None))
        self.noise = self.noise if noise is None else noise
        return self

    def refits(self, noises: Sequence[Noise]) -> Iterator[GAP]:
        """Models with other noise, one after the other, as `refit` makes them but faster; this one stays as it is.

        Raises
        ------
        ConfigError
            As `refit`.
        """
        state = self._fitted()
        for noise, own in zip(noises, refitted(state, [checked_noise(noise) for noise in noises]), strict=True):
            model = copy(self)
            model.state_, model.noise = own, noise
            yield model

    def maximize_evidence(self, sigma: str | None = "kind", *, delta: bool = True) -> GAP:
        """σ of the labels, δ of the terms and open scales that make the labels most probable; no kernel is evaluated.

        `noise` becomes what is found, as after `refit`; `evidence_` says what was changed. The priors of log σ and
        log δ are weak, a factor of 100 from those of `Noise()` and from 1 eV costs half a nat, with bounds at 1e-3
        and 1e3 times these. A σ that frames bring themselves stays. A calibration is dropped. Scales of baselines that
        the fit had found are found again, unless other data came since or the model was read from a file.

        The evidence trusts the model: where it cannot follow the labels to their precision, or forces outnumber
        energies, what predicts best may be another σ. `held_out` and `gapkit.tuning.pareto` show it.

        Parameters
        ----------
        sigma
            ``kind``: one factor for each kind of label, groups keep their ratios. ``group``: a σ for each kind of each
            config_type. None: they stay.
        delta
            Whether the δ of the terms are varied.

        Raises
        ------
        ConfigError
            If the model was saved without its compressed data.
        """
        self.state_ = maximized_evidence(self._fitted(), sigma, delta)
        self.noise = self.noise if sigma is None else deepcopy(self.state_.noise)
        return self

    def extend(
        self,
        frames: Iterable[Atoms] | Iterable[Frame],
        *,
        old_frames: Iterable[Atoms] | Iterable[Frame] | None = None,
        n_sparse: int | Mapping[str, int] | None = None,
        e0: Mapping[str | int, float] | None = None,
        rng: Rng = 0,
    ) -> GAP:
        """Add labelled structures, which may have new elements, to a fitted model. The old frames are not needed.

        The old sparse points stay and new ones are added. The old data count through what they say about the old
        points: their compressed rows if the model has them, else its posterior. In a SOAP of elements apart a new
        element is like the known one of most similar chemistry from the start. After new points, `remove` and
        `leave_one_out` cannot take the old frames out one by one any more. A calibration is dropped.

        Parameters
        ----------
        frames
            New structures of the same reference method; they are not changed.
        old_frames
            All frames of the fit: their rows are made anew for all sparse points, which is a fresh fit on these points.
        n_sparse
            Number of new sparse points of terms with environments, shared as in `SoapTerm`, or {symbol: number}.
            None: for a new element the mean number of the others, for a known one half of what it has at most, where
            the old points do not reach.
        e0
            Energies of isolated atoms of new elements, eV. None: those that `GAP` was given, else as in `fit`.
        rng
            Generator or seed of the choice of sparse points.

        Raises
        ------
        DataError, SpeciesError, ConfigError
            Frames that are in the fit already, `old_frames` that are not those of the fit; a baseline that cannot take
            a new element.
        """
        state, data = self._fitted(), self._labelled(frames)
        check_settings(None, e0, self.keys, self.n_jobs, self.max_memory, None)
        self.state_ = extended(
            state,
            data,
            None if old_frames is None else self._labelled(old_frames),
            e0,
            n_sparse,
            random=generator(rng),
            n_jobs=self.n_jobs,
            ceiling=memory("max_memory", self.max_memory),
        )
        return self

    def fine_tune(
        self,
        frames: Iterable[Atoms] | Iterable[Frame],
        *,
        difference: float | None = None,
        n_sparse: int | Mapping[str, int] | None = None,
        noise: Noise | None = None,
        e0: Mapping[str | int, float] | None = None,
        rng: Rng = 0,
    ) -> GAP:
        """Move a fitted model to another reference method (functional, basis) with a few of its labels.

        What the model says now is the prior mean: the new energy surface is the old one plus a difference, whose prior
        has the kernels of the model. Energies alone are enough. A calibration is dropped.

        Parameters
        ----------
        frames
            Structures of the new method, of elements that the model knows; those of the fit may be among them.
        difference
            Prior σ of the difference, in units of that of the model, δ. None: the one with which frames that are left
            out are predicted best.
        n_sparse
            Number of new sparse points as in `extend`. None: none, the old ones serve.
        noise
            σ of the new labels. None: as in the model.
        e0
            Energies of isolated atoms by the new method, eV. None: from single-atom frames, else by least squares of
            the difference, with a warning.
        rng
            Generator or seed of the choice of sparse points.

        Raises
        ------
        DataError, ConfigError
        """
        state, data = self._fitted(), self._labelled(frames)
        check_settings(None, e0, self.keys, self.n_jobs, self.max_memory, None)
        if difference is not None:
            difference = not_negative("difference", difference)
        require_species(state.species, data)
        wanted = state.noise if noise is None else checked_noise(noise)
        ceiling, random = memory("max_memory", self.max_memory), generator(rng)
        keys = self.keys or Keys()
        self.state_ = fine_tuned(
            state, data, e0, n_sparse, difference, wanted, keys, random=random, n_jobs=self.n_jobs, ceiling=ceiling
        )
        self.noise = self.noise if noise is None else noise
        return self

    def remove(self, frames: Iterable[Atoms] | Iterable[Frame]) -> GAP:
        """Take the labels of some training frames out of the fit; sparse points stay. A calibration is dropped.

        Raises
        ------
        DataError, ConfigError
            A frame that was not in the fit, or has other labels than it had, or was there before `extend` added sparse
            points without it; a model saved without its data.
        """
        self.state_ = reduced(self._fitted(), self._labelled(frames))
        return self

    def thinned(self, n_sparse: int | Mapping[str, int]) -> GAP:
        """A new model on the first `n_sparse` sparse points of each many-body term; no kernel row is evaluated.

        It is the fit on these points: σ and δ that the fit learned are learned again. Points that were chosen by
        ``farthest_point``, as they are by default, are in an order of which every beginning is a good choice; the
        isolated atoms come first. Terms of pairs and triplets keep theirs. A calibration is dropped.

        Parameters
        ----------
        n_sparse
            Number that stays in each term, of those that the central species have an equal share; or {symbol: number},
            other species keep theirs. A term with fewer points keeps all.

        Raises
        ------
        ConfigError
            A model that was saved without its compressed data, or without environments; more points than it has.
        """
        state = thinned(self._fitted(), n_sparse, learn_noise=self.noise is None)
        model = type(self)(**{**self.get_params(deep=False), "terms": list(state.settings)})
        model.state_ = state
        if self._rows is not None and self._rows.on(self.state_.terms):
            model._rows = self._rows.some(staying(self.state_.terms, n_sparse), state.terms)
        return model

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GAP:
        """Read a model file; it predicts bit for bit what the saved model predicted.

        Raises
        ------
        ModelFileError
            The file is missing, no model, damaged, truncated, or written by a newer gapkit.
        """
        document, arrays = read(Path(path))
        try:
            state = build(document, arrays)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise damaged(Path(path), error) from error
        for baseline in state.baselines:
            baseline.prepared([])  # a calculator or library that is missing is told of now, not in the first step
        keys = None if state.keys == Keys() else state.keys
        model = cls(list(state.settings), state.noise, baselines=list(state.baselines), keys=keys)
        model.state_ = state
        return model
