"""The density estimator for tables."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.formats import Layout
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.readable import listed
from skflow._sklearn.room import check_n_samples
from skflow._sklearn.validation import (
    Interval,
    StrOptions,
    fit_context,
    row_weights,
    table,
)
from skflow.estimators.score import ScoredDensityMixin
from skflow.tables.chain import Chain
from skflow.tables.column import Column, FitSettings, Floats
from skflow.tables.completion import fit_completed
from skflow.tables.kinds import declared, kind_of
from skflow.tables.marginal import TableMarginal
from skflow.tables.noise import Noise
from skflow.tables.particles import are_exact, draw_completed, draw_rows, estimate_log_prob

__all__ = ["TableFlow"]

_MOST_SEEDS = 2**31 - 1

# Complete rows are scored so many at a time.
_BLOCK_ROWS = 16_384


class TableFlow(PersistenceMixin, DocumentationLinkMixin, ScoredDensityMixin, BaseEstimator):
    r"""Density of tables with columns of several kinds, some of whose entries may be missing.

    .. math::
        p(x) = p(x_C) \prod_j p(x_j \mid x_C, x_1, \dots, x_{j-1})

    Continuous columns, :math:`x_C`, have the joint density of a :class:`RelativeGradientFlow`.
    Every other column follows given the columns before it: whole numbers, columns with heaps and
    periodic ones by a :class:`ConditionalFlow`, and categories by classifiers. Discrete values
    have a mass and continuous ones a density, both exact: all of them together sum and integrate
    to one.

    Rows with holes count in the fit with what is observed, and have the density of what is
    observed. One fitted table fills holes and draws any columns given any others.

    Read more in the :ref:`User Guide <tables>`.

    Parameters
    ----------
    columns : dict or None, default=None
        The kinds of columns, by their names, or by their numbers in an array. "categorical",
        "count" and "continuous" may be said so; others are made by the classes of
        ``skflow.tables``, such as ``Periodic(360)``, ``Bounded(0, 1)`` and ``Inflated(at=0)``.

        What is not declared is found: strings, bools, categories and numbers with few values are
        categorical, whole numbers that repeat are counts, columns with heaps are inflated there,
        and others are continuous. Nobody finds out that a column is periodic or bounded.

    n_particles : int, default=200
        How often a row with holes is completed to compute its density, or to draw from it.

    max_iter : int or "auto", default="auto"
        The most epochs of each flow.

    n_jobs : int or None, default=None
        How many columns are learned at once, in processes of their own; None is 1, and -1 all
        processors.

    verbose : bool or int, default=False
        Whether to write a line as the fit of each column begins, such as "column 3 of 8: species".
        Tables with holes are learned twice.

    random_state : int, RandomState instance or None, default=None
        Determines the fit, and the particles of rows with holes. Pass an int for the same result
        each time.

    Attributes
    ----------
    columns_ : dict
        The kinds of all columns by their names.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    RelativeGradientFlow : For arrays of continuous columns, with latents.
    ConditionalFlow : Regression that returns a whole distribution.

    Notes
    -----
    The density of a row with holes is estimated by sequential Monte Carlo: what is missing
    is drawn given the columns before it, and what is observed weighs the draws. Holes among
    continuous columns are drawn from a mixture of normal distributions, and go from there to the
    flow, in stages if the two differ much. The mean weight is an estimate of the density, whose
    logarithm has the standard error that :meth:`score_samples` returns by ``return_error=True``.

    Cost: that of a flow of the continuous columns, of a conditional flow for each count, inflated
    or periodic column, and of four fits of classifiers for each categorical one; all of it twice
    if there are holes, as rows are then completed by the first fit. Rows with holes take
    `n_particles` times as long as others, and more if there are stages.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skflow import TableFlow
    >>> rng = np.random.default_rng(0)
    >>> species = rng.choice(["Adelie", "Gentoo"], size=300)
    >>> bill = rng.normal(np.where(species == "Adelie", 39.0, 47.5), 2.5)
    >>> frame = pd.DataFrame({"species": species, "bill": bill})
    >>> frame.loc[::10, "bill"] = np.nan
    >>> table = TableFlow(max_iter=5, random_state=0).fit(frame)
    >>> table.columns_["species"]
    Categorical()
    >>> table.sample_given(pd.DataFrame({"species": [None], "bill": [48.0]}), random_state=0)
      species  bill
    0  Gentoo  48.0
    """

    def __init__(
        self,
        columns: dict[Any, Any] | None = None,
        *,
        n_particles: int = 200,
        max_iter: int | Literal["auto"] = "auto",
        n_jobs: int | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.columns = columns
        self.n_particles = n_particles
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "columns": [dict, None],
        "n_particles": [Interval(Integral, 2, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    columns_: dict[Any, Column]

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the density of the rows of a table.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows, whose entries may be missing. A frame of pandas or polars may hold strings,
            categories, bools and dates.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for. By default, each counts for one.

        Returns
        -------
        self : TableFlow
            The fitted estimator. If `fit` fails, it stays as it was.

        Raises
        ------
        ValueError
            If a column has no entries, or some that the kind it is declared to be does not take.
        """
        with unchanged_on_error(self):
            X = table(self, X, fitting=True)
            self._layout = Layout(X)
            values = self._layout.read(X)
            names = self._layout.names
            weights = None if sample_weight is None else row_weights(sample_weight, values)
            if weights is not None:
                values, weights = values[weights > 0], weights[weights > 0]
            _refuse_too_few(values, names)
            kinds = declared(self.columns, names)
            for j, form in enumerate(self._layout.formats):
                kinds.setdefault(j, kind_of(values[:, j], form))
            self._refuse(values, kinds)
            seed = int(check_random_state(self.random_state).randint(_MOST_SEEDS))
            chain = Chain([kinds[j] for j in range(len(names))], FitSettings(seed, self.max_iter))
            announce = self._announce if self.verbose else None
            chain = chain.fit(values, weights, self.n_jobs, announce)
            self._chain = fit_completed(chain, values, weights, self.n_jobs, announce)
            self._holes = np.isnan(values)
            self._shares = None if weights is None else weights / weights.sum()
            self.columns_ = {name: kinds[j] for j, name in enumerate(names)}
        return self

    @overload
    def score_samples(
        self, X: ArrayLike, *, return_error: Literal[False] = False
    ) -> NDArray[np.float64]: ...

    @overload
    def score_samples(
        self, X: ArrayLike, *, return_error: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    def score_samples(
        self, X: ArrayLike, *, return_error: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the log-probability of rows: of what is observed, where rows have holes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.
        return_error : bool, default=False
            Whether to return standard errors as well.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the units of `X`.
        error : ndarray of shape (n_samples,)
            The standard errors by which they are estimated. Zero for rows without holes, and for
            those whose holes come after all that is observed. Only returned with `return_error`.
        """
        log_prob, error = self._log_prob(self._layout.read(self._checked(X)))
        return (log_prob, error) if return_error else log_prob

    def has_mass(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Say which entries have a mass, and not a density: categories, counts and heaps.

        Scores of rows compare if the same of their entries have masses.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        has_mass : ndarray of shape (n_samples, n_features), of bools
            False where an entry is missing.
        """
        values = self._layout.read(self._checked(X))
        return np.stack([c.has_mass(values[:, j]) for j, c in enumerate(self._chain.columns)], 1)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows, with holes as rows of :meth:`fit` had them.

        Numbers stay within the range that their column had there: the density goes on beyond it,
        and a row that leaves it is drawn anew. Periodic columns have no range.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Where the randomness comes from.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            Like the table in :meth:`fit`, with the same types. Each row has the holes of some row
            there.
        """
        check_is_fitted(self)
        random_state = check_random_state(random_state)
        found = self._complete_rows(n_samples, random_state)
        holes = random_state.choice(len(self._holes), n_samples, p=self._shares)
        return self._layout.write(np.where(self._holes[holes], np.nan, found))

    def sample_given(self, X: ArrayLike, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw what is missing in rows, given what is observed in them.

        Numbers stay within the range that their column had in :meth:`fit`, as in :meth:`sample`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features)
            Rows with holes.
        n_samples : int, default=1
            How often each row is completed.
        random_state : int, RandomState instance or None, default=None
            Where the randomness comes from.

        Returns
        -------
        completed : DataFrame or ndarray of shape (n_rows * n_samples, n_features)
            The completed rows: those of the first row of `X`, then those of the second, and so
            on. What is observed is as it was.
        """
        X = self._checked(X)
        values = self._layout.read(X)
        check_n_samples(n_samples, values.size)
        noise = Noise(check_random_state(random_state))
        draws = self._draws(values, n_samples, noise, max(n_samples, self.n_particles))
        return self._layout.write(draws.reshape(-1, values.shape[1]), X)

    def marginal(self, columns: Sequence[Any]) -> TableMarginal:
        """Return the density of some columns, whatever the others are.

        Parameters
        ----------
        columns : sequence of str or int
            Their names, or their numbers in an array.

        Returns
        -------
        marginal : TableMarginal
            A fitted density, with ``score_samples``, ``score`` and ``sample``.

        Raises
        ------
        ValueError
            If there is no column, one that the table does not have, or one twice.
        """
        check_is_fitted(self)
        names, named = self._layout.names, listed(columns)
        where = [
            names.index(each) for each in named if isinstance(each, Hashable) and each in names
        ]
        if not named or len(where) < len(named) or len(set(where)) < len(where):
            raise ValueError(
                f"columns must be one or several of {names}, each of them once, got {columns!r}."
            )
        return TableMarginal(self, where)

    def impute(self, X: ArrayLike, strategy: Literal["mean", "median"] = "mean") -> Any:
        """Fill holes with what is to be expected there, given what is observed.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with holes.
        strategy : {"mean", "median"}, default="mean"
            What is filled in: the mean, which has the smallest squared error, or the median, which
            has the smallest absolute error. Of categories, both are the likeliest one; but the
            median of numbers that are categorical is their lower median.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            Without holes.
        """
        if strategy not in ("mean", "median"):
            raise ValueError(f"strategy must be 'mean' or 'median', got {strategy!r}.")
        X = self._checked(X)
        values = self._layout.read(X)
        draws = self._draws(values, self.n_particles, self._fixed(), self.n_particles)
        filled = values.copy()
        for j, column in enumerate(self._chain.columns):
            rows = np.isnan(values[:, j])
            own = strategy if self._layout.formats[j].has_order else "mean"
            filled[rows, j] = column.centre(draws[rows, :, j], own)
        return self._layout.write(filled, X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def _log_prob(self, values: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log-probabilities of rows of numbers, and their standard errors."""
        log_prob, error = np.zeros(len(values)), np.zeros(len(values))
        whole = ~np.isnan(values).any(1)
        for rows in np.array_split(np.flatnonzero(whole), 1 + whole.sum() // _BLOCK_ROWS):
            if len(rows):
                log_prob[rows] = self._chain.log_prob(values[rows])
        exact = are_exact(self._chain, values)
        for which, n_particles in ((exact & ~whole, 1), (~exact, self.n_particles)):
            if which.any():
                log_prob[which], error[which] = estimate_log_prob(
                    self._chain, values[which], n_particles, self._fixed()
                )
        return log_prob, error

    def _complete_rows(self, n_samples: int, random_state: Any) -> Floats:
        """Draw rows of numbers."""
        check_n_samples(n_samples, self.n_features_in_)
        return draw_rows(self._chain, n_samples, Noise(check_random_state(random_state)))

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return table(self, X)

    def _refuse(self, values: Floats, kinds: dict[int, Column]) -> None:
        for j, kind in kinds.items():
            known = values[:, j][~np.isnan(values[:, j])]
            kind.refuse(known, repr(self._layout.names[j]))

    def _announce(self, n_before: int, own: list[int], again: bool) -> None:
        """Write which columns are learned next: those of the flow all together."""
        names = ", ".join(str(self._layout.names[j]) for j in own)
        first, last, n = n_before + 1, n_before + len(own), len(self._layout.names)
        which = f"column {first}" if first == last else f"columns {first} to {last}"
        once_more = " once more" if again else ""
        sys.stdout.write(f"{type(self).__name__}: {which} of {n}: {names}{once_more}\n")
        sys.stdout.flush()

    def _fixed(self) -> Noise:
        """Return the same randomness each time, so that a row always has the same density."""
        return Noise(self._chain.settings.random_state)

    def _draws(self, values: Floats, n_samples: int, noise: Noise, n_particles: int) -> Floats:
        """Return completed rows of equal weight, of shape (n_rows, n_samples, n_columns)."""
        draws = np.repeat(values[:, None], n_samples, axis=1)
        holes = np.isnan(values).any(1)
        if holes.any():
            draws[holes] = draw_completed(
                self._chain, values[holes], n_particles, n_samples, noise
            )
        return draws


def _refuse_too_few(values: Floats, names: list[Any]) -> None:
    if len(values) < 2:
        raise ValueError(
            f"Found array with {len(values)} sample(s) (shape={values.shape}) while a minimum of "
            "2 is required by TableFlow."
        )
    for j, name in enumerate(names):
        if np.isnan(values[:, j]).all():
            raise ValueError(f"Column {name!r} has no entries: all of them are missing.")
