"""Noise that makes discrete columns continuous."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.readable import listed
from skflow._sklearn.validation import (
    Interval,
    StrOptions,
    array_like,
    as_numpy,
    column_label,
    fit_context,
    framed,
    namespace,
    numpy_dtype,
    rows,
    rows_back,
)

__all__ = ["DequantizationTransformer"]

# The numbers that can stand between two neighbouring levels; fewer would be a grid again.
_LEAST_ROOM = 16


class DequantizationTransformer(
    OneToOneFeatureMixin, TransformerMixin, PersistenceMixin, DocumentationLinkMixin, BaseEstimator
):
    r"""Add uniform noise to integer columns, so that they have a density.

    A density estimator can put ever narrower peaks on the few values of a discrete column; its
    likelihood has no upper bound then, and says nothing. Spread over the interval to the next
    value, :math:`y = x + s u` with :math:`u` uniform on [0, 1) and the step :math:`s`, the column
    is continuous, and the likelihood is bounded and has a meaning (see Notes).

    Read more in the :ref:`User Guide <units>`.

    Parameters
    ----------
    step : float, default=1.0
        The distance between neighbouring values, as 0.1 for lengths noted to a millimetre in
        centimetres.

    columns : "auto" or array-like of int or str, default="auto"
        The positions or names of the columns that get noise. "auto" takes those whose values in
        :meth:`fit` are all multiples of `step`. Others pass through unchanged.

    random_state : int, RandomState instance or None, default=None
        Determines the noise. With an int, each call of :meth:`transform` draws the same noise, and
        that of row i is the same however many rows follow; rows that are equal get different
        noise.

    Attributes
    ----------
    columns_ : ndarray of int
        The positions of the columns that get noise.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    LogitTransformer : For columns with bounds, which dequantised ones often have.
    score_samples_in_original_units : Log-densities of the rows of a Pipeline.

    Notes
    -----
    Let :math:`p` be the density of :math:`k` dequantised columns. It defines probabilities of the
    discrete values, :math:`P(x) = \int_{[0, s)^k} p(x + v)\, dv`. By Jensen's inequality [1]_

    .. math:: \mathbb{E}_u[\log p(x + s u)] + k \log s \le \log P(x),

    so that with the default step **the score of dequantised rows is, in expectation over the
    noise, a lower bound on the discrete log-likelihood**, and not that likelihood itself. One draw
    of the noise gives an unbiased estimate of the bound, which for a single row can lie above
    :math:`\log P(x)`; the mean over several draws has less variance. Columns without noise
    have densities on either side.

    Cost: O(N·D).

    References
    ----------
    .. [1] L. Theis, A. van den Oord and M. Bethge, "A note on the evaluation of generative
       models", ICLR 2016, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow.preprocessing import DequantizationTransformer
    >>> X = np.array([[3, 0.5], [3, 0.1], [7, 0.2]])
    >>> dequantize = DequantizationTransformer(random_state=0).fit(X)
    >>> dequantize.columns_
    array([0])
    >>> Y = dequantize.transform(X)
    >>> Y.round(3)
    array([[3.549, 0.5  ],
           [3.715, 0.1  ],
           [7.603, 0.2  ]])
    >>> dequantize.inverse_transform(Y)
    array([[3. , 0.5],
           [3. , 0.1],
           [7. , 0.2]])
    """

    def __init__(
        self, step: float = 1.0, *, columns: Any = "auto", random_state: Any = None
    ) -> None:
        self.step = step
        self.columns = columns
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "step": [Interval(Real, 0, None, closed="neither")],
        "columns": [StrOptions({"auto"}), "array-like"],
        "random_state": ["random_state"],
    }

    columns_: NDArray[np.intp]

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Find the columns that get noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        y : None
            Ignored; here by convention.

        Returns
        -------
        self : DequantizationTransformer
            The fitted transformer.

        Raises
        ------
        ValueError
            If one of `columns` is not there, holds other values than multiples of `step`, or
            values so large that their precision has no room for noise.

        Warns
        -----
        UserWarning
            If a column passes through only because its values are so large.
        """
        with unchanged_on_error(self):
            X = rows(self, X, fitting=True)
            self.columns_ = array_like(self._discrete_columns(X), X)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Add the noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features)
            In the precision of `X`. The values in column j of :attr:`columns_` are at least
            ``X[:, j]`` and below ``X[:, j] + step``, rounding included.

        Raises
        ------
        ValueError
            If a column that gets noise holds other values than multiples of `step`, or values so
            large that their precision has no room for noise.
        """
        check_is_fitted(self)
        X = rows(self, X, method="transform")
        xp = namespace(X)
        columns = as_numpy(self.columns_)
        levels = self._levels(_take(X, columns), columns)
        noise = check_random_state(self.random_state).random_sample(tuple(levels.shape))
        values = xp.astype((levels + array_like(noise, X)) * self.step, X.dtype)
        # Rounding can leave the interval by a unit or two in the last place.
        within = xp.astype((levels + 0.5) * self.step, X.dtype)
        while xp.any(off := self._levels_below(values) != levels):
            values = xp.where(off, xp.nextafter(values, within), values)
        return _with_columns(X, columns, values)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Take values down to the multiple of `step` below, which removes the noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Dequantised rows, or rows sampled from a model of them. The model may have learned to
            stay between bounds, but nothing keeps it there: see :class:`LogitTransformer`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the precision of `X`. What :meth:`transform` gave comes back exactly; once float32
            has rounded it in further steps, a few values in ten million may be one step off. A
            frame if ``set_output`` asks for frames.
        """
        check_is_fitted(self)
        Y = rows_back(self, X)
        columns = as_numpy(self.columns_)
        levels = self._levels_below(_take(Y, columns))
        values = namespace(Y).astype(levels * self.step, Y.dtype)
        return framed(self, _with_columns(Y, columns, values), like=X)

    def log_abs_det_jacobian(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of the Jacobian at each row: zero, since noise only shifts a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_det : ndarray of shape (n_samples,)
            In nats.
        """
        check_is_fitted(self)
        X = rows(self, X, method="log_abs_det_jacobian")
        return array_like(np.zeros(X.shape[0]), X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    def _discrete_columns(self, X: Any) -> NDArray[np.intp]:
        if not isinstance(self.columns, str):
            chosen = self._chosen_columns()
            self._levels(_take(X, chosen), chosen)
            return chosen
        discrete = np.flatnonzero(as_numpy(namespace(X).all(self._are_multiples(X), axis=0)))
        roomy = self._have_room(_take(X, discrete))
        if not roomy.all():
            warnings.warn(
                f"{self._no_room(X, discrete[~roomy])}; they pass through unchanged. Subtract a "
                "constant from them, or pass float64 if X is float32.",
                UserWarning,
                stacklevel=4,
            )
        return discrete[roomy]

    def _chosen_columns(self) -> NDArray[np.intp]:
        names = list(getattr(self, "feature_names_in_", []))
        n_features = self.n_features_in_
        positions: list[int] = []
        for column in listed(self.columns):
            if isinstance(column, str) and column in names:
                positions.append(names.index(column))
            elif (
                isinstance(column, int | np.integer)
                and not isinstance(column, bool)
                and 0 <= column < n_features
            ):
                positions.append(int(column))
            else:
                raise ValueError(
                    "columns must be 'auto' or hold positions from 0 to "
                    f"{n_features - 1} or names of columns of X, got {column!r}."
                )
        return np.unique(np.array(positions, dtype=np.intp))

    def _levels(self, X: Any, columns: NDArray[np.intp]) -> Any:
        """Return the values in `columns` in steps, once it is clear that these are whole."""
        xp = namespace(X)
        if not xp.all(multiples := self._are_multiples(X)):
            i, j = np.argwhere(~as_numpy(multiples))[0]
            raise ValueError(
                f"X has the value {as_numpy(X)[i, j]} in {column_label(self, columns[j])}, which "
                f"is to get noise but is not a multiple of step={self.step}. Set step, or name "
                "the columns that are discrete in columns."
            )
        if not (roomy := self._have_room(X)).all():
            raise ValueError(
                f"{self._no_room(X, columns[~roomy])}. Subtract a constant from them, or pass "
                "float64 if X is float32."
            )
        return xp.round(xp.astype(X, xp.float64) / self.step)

    def _are_multiples(self, X: Any) -> Any:
        xp = namespace(X)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = xp.astype(X, xp.float64) / self.step
            levels = xp.round(steps)
            rounding = 2 * xp.finfo(X.dtype).eps * xp.clip(xp.abs(levels), 1, None)
            return xp.abs(steps - levels) <= rounding

    def _have_room(self, X: Any) -> NDArray[np.bool_]:
        largest = as_numpy(namespace(X).max(namespace(X).abs(X), axis=0))
        with np.errstate(over="ignore", invalid="ignore"):  # of the largest number there is
            room: NDArray[np.bool_] = np.spacing(largest) <= self.step / _LEAST_ROOM
        return room

    def _no_room(self, X: Any, columns: NDArray[np.intp]) -> str:
        labels = ", ".join(column_label(self, column) for column in columns)
        return (
            f"{labels} of X: the values are so large that {numpy_dtype(X)} has no room for noise "
            f"between the multiples of step={self.step}"
        )

    def _levels_below(self, values: Any) -> Any:
        xp = namespace(values)
        with np.errstate(over="ignore"):
            return xp.floor(xp.astype(values, xp.float64) / self.step)


def _take(X: Any, columns: NDArray[np.intp]) -> Any:
    return namespace(X).take(X, array_like(columns, X), axis=1)


def _with_columns(X: Any, columns: NDArray[np.intp], values: Any) -> Any:
    """Return a copy of `X` with other values in some columns."""
    Y = namespace(X).asarray(X, copy=True)
    for k, j in enumerate(columns):
        Y[:, int(j)] = values[:, k]
    return Y
