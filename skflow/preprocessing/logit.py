"""Bounded columns on the whole real line."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skflow._documentation import DocumentationLinkMixin
from skflow._validation import (
    Interval,
    _fit_context,
    array_like,
    as_numpy,
    column_label,
    framed,
    namespace,
    numpy_dtype,
    rows,
    rows_back,
    unchanged_on_error,
)

__all__ = ["LogitTransformer"]


class LogitTransformer(
    OneToOneFeatureMixin, TransformerMixin, DocumentationLinkMixin, BaseEstimator
):
    r"""Map columns with known bounds to the real line, with a logit.

    .. math::
        y = \operatorname{logit}\Bigl(\alpha + (1 - 2\alpha)
            \frac{x - \mathrm{low}}{\mathrm{high} - \mathrm{low}}\Bigr),
        \qquad \operatorname{logit}(p) = \log\frac{p}{1 - p}

    A density estimator spreads over the whole line. Of a share, a pixel or a probability it would
    place mass beyond the bounds; of its logit it cannot, and samples that are mapped back keep
    within them.

    Read more in the :ref:`User Guide <units>`.

    Parameters
    ----------
    low, high : float or array-like of shape (n_features,), default=0.0 and 1.0
        The bounds: what values *can* be, and not the extremes of the data at hand, beyond which
        the next row may lie. One number for all columns or one for each. A column with bounds
        ``-np.inf`` and ``np.inf`` passes through unchanged.

    alpha : float, default=1e-6
        How far from 0 and 1 the logit is evaluated, in [0, 0.5). The default sends values on a
        bound to ±13.8, and changes others hardly. With 0, the density in the units of `X` lies
        between the bounds and nowhere else, but values on a bound are refused, since their
        logit is infinite.

    Attributes
    ----------
    low_, high_ : ndarray of shape (`n_features_in_`,)
        The bounds of each column.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    DequantizationTransformer : Comes before, where the values are whole numbers: 0, ..., 255
        become a density between ``low=0`` and ``high=256``.
    score_samples_in_original_units : Log-densities of the rows of a Pipeline.
    sklearn.preprocessing.PowerTransformer : For columns with one bound or none.

    Notes
    -----
    With `alpha` above zero, a density of `y` integrates to one over an interval of `x` that is
    wider than the bounds by :math:`\alpha / (1 - 2\alpha)` of their distance on each side.
    :meth:`inverse_transform` puts what lies there on the bound, or rather on the next number
    within, so that its result can always be transformed again, and can be taken down to whole
    numbers without reaching `high`.

    Many equal values *on* a bound (say, shares that are exactly zero) have no density. If they are
    what counting leaves, dequantise them first.

    Cost: O(N·D).

    Examples
    --------
    >>> import numpy as np
    >>> from skflow.preprocessing import LogitTransformer
    >>> X = np.array([[0.5, 20.0], [0.9, 80.0]])
    >>> logit = LogitTransformer(high=[1, 100]).fit(X)
    >>> Y = logit.transform(X)
    >>> Y
    array([[ 0.  , -1.39],
           [ 2.20,  1.39]])
    >>> bool(np.allclose(logit.inverse_transform(Y), X))
    True
    >>> logit.log_abs_det_jacobian(X)
    array([-1.39, -0.36])
    """

    def __init__(
        self, low: float | ArrayLike = 0.0, high: float | ArrayLike = 1.0, *, alpha: float = 1e-6
    ) -> None:
        self.low = low
        self.high = high
        self.alpha = alpha

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "low": [Real, "array-like"],
        "high": [Real, "array-like"],
        "alpha": [Interval(Real, 0, 0.5, closed="left")],
    }

    low_: NDArray[np.float64]
    high_: NDArray[np.float64]

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Check the bounds, and that `X` lies within them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored; here by convention.

        Returns
        -------
        self : LogitTransformer
            The fitted transformer.

        Raises
        ------
        ValueError
            If the bounds do not suit each other or `X`.
        """
        with unchanged_on_error(self):
            X = rows(self, X, fitting=True)
            self.low_, self.high_ = (array_like(bound, X) for bound in self._bounds(X))
            self._distances(X)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Map bounded columns to the real line.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features)
            In the precision of `X`.

        Raises
        ------
        ValueError
            If a value lies outside of its bounds, or on one with ``alpha=0``.
        """
        check_is_fitted(self)
        X = rows(self, X, method="transform")
        xp = namespace(X)
        bounded, above, below = self._distances(X)
        return xp.where(bounded, xp.astype(xp.log(above) - xp.log(below), X.dtype), X)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Map the real line back between the bounds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the precision of `X`. Bounded columns lie strictly between their bounds. A frame if
            ``set_output`` asks for frames.
        """
        check_is_fitted(self)
        Y = rows_back(self, X)
        xp = namespace(Y)
        bounded, low, high = self._intervals(Y)
        first = array_like(np.nextafter(as_numpy(low), as_numpy(high)), Y)
        last = array_like(np.nextafter(as_numpy(high), as_numpy(low)), Y)
        logits, low, high = (xp.astype(array, xp.float64) for array in (Y, low, high))
        # The distance from the nearer bound, which keeps its digits.
        odds = xp.exp(-xp.abs(logits))
        share = (odds / (1 + odds) - self.alpha) / (1 - 2 * self.alpha)
        distance = (high - low) * share
        values = xp.astype(xp.where(logits < 0, low + distance, high - distance), Y.dtype)
        return framed(self, xp.where(bounded, xp.clip(values, first, last), Y), like=X)

    def log_abs_det_jacobian(self, X: ArrayLike) -> NDArray[np.float64]:
        r"""Return :math:`\log|\det \partial y / \partial x|` at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as :meth:`transform` takes them, in the original units.

        Returns
        -------
        log_det : ndarray of shape (n_samples,)
            In nats. Add it to a log-density of the transformed rows to get that of `X`.

        Raises
        ------
        ValueError
            If a value lies outside of its bounds, or on one with ``alpha=0``.
        """
        check_is_fitted(self)
        X = rows(self, X, method="log_abs_det_jacobian")
        xp = namespace(X)
        bounded, above, below = self._distances(X)
        # 1 / above + 1 / below, where above + below is the distance between the bounds.
        log_slopes = xp.log(above + below) - xp.log(above) - xp.log(below)
        log_slopes = log_slopes + math.log1p(-2 * self.alpha)
        return xp.sum(xp.where(bounded, log_slopes, xp.zeros_like(log_slopes)), axis=1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    def _bounds(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = self._bound("low"), self._bound("high")
        dtype = numpy_dtype(X)
        for j in range(self.n_features_in_):
            got = f"got {low[j]} to {high[j]} for {column_label(self, j)}"
            finite = np.isfinite(low[j]) and np.isfinite(high[j])
            if not finite and (low[j], high[j]) != (-np.inf, np.inf):
                raise ValueError(
                    "low and high must both be finite, or -inf and inf for a column that passes "
                    f"through, {got}. For a column with one bound take the logarithm of the "
                    "distance from it, or use sklearn.preprocessing.PowerTransformer."
                )
            if not low[j].astype(dtype) < high[j].astype(dtype):
                raise ValueError(f"low must be below high in {dtype}, {got}.")
        return low, high

    def _bound(self, name: str) -> NDArray[np.float64]:
        n_features = self.n_features_in_
        bound = np.asarray(getattr(self, name), dtype=np.float64)
        if bound.shape not in [(), (n_features,)]:
            raise ValueError(
                f"{name} must be one number or one for each of the {n_features} columns of X, "
                f"got an array of shape {bound.shape}."
            )
        if np.isnan(bound).any():
            raise ValueError(f"{name} must not be NaN, got {getattr(self, name)!r}.")
        return np.broadcast_to(bound, n_features).copy()

    def _intervals(self, X: Any) -> tuple[Any, Any, Any]:
        """Return which columns are bounded, and the bounds, of the kind and precision of `X`.

        Those without bounds get some to compute with, around zero.
        """
        # A bound such as 0.1 is another number in float32: the one that the rows can reach.
        low, high = (as_numpy(bound).astype(numpy_dtype(X)) for bound in (self.low_, self.high_))
        bounded = np.isfinite(low)
        low[~bounded], high[~bounded] = -1, 1
        return array_like(bounded, X), array_like(low, X), array_like(high, X)

    def _distances(self, X: Any) -> tuple[Any, Any, Any]:
        """Return which columns are bounded, and how far values lie from both bounds.

        The bounds are drawn in by `alpha`, and the distance between them cancels: the logit is the
        difference of the logarithms.
        """
        xp = namespace(X)
        bounded, low, high = self._intervals(X)
        values = xp.where(bounded, X, xp.zeros_like(low))
        if xp.any(outside := (values < low) | (values > high)):
            i, j = np.argwhere(as_numpy(outside))[0]
            raise ValueError(
                f"X has the value {as_numpy(X)[i, j]} in {column_label(self, j)}, outside of its "
                f"bounds {float(low[j])} to {float(high[j])}. Pass bounds low and high that hold "
                "every value that can occur, or -inf and inf for a column that is to pass through."
            )
        if self.alpha == 0 and xp.any(on_bound := (values == low) | (values == high)):
            i, j = np.argwhere(as_numpy(on_bound))[0]
            raise ValueError(
                f"X has the value {as_numpy(X)[i, j]} in {column_label(self, j)}, which is one of "
                "its bounds: its logit is infinite with alpha=0. Set alpha above 0, widen low and "
                "high, or dequantise whole numbers first."
            )
        values, low, high = (xp.astype(array, xp.float64) for array in (values, low, high))
        margin = self.alpha * (high - low)
        share = 1 - 2 * self.alpha
        return bounded, margin + share * (values - low), margin + share * (high - values)
