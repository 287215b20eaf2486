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

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.predictive import floats
from skflow._sklearn.readable import readable
from skflow._sklearn.validation import (
    Interval,
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

__all__ = ["LogitTransformer"]

# Of what float64 can hold the exponential.
_MOST_EXPONENT = 709.0


class LogitTransformer(
    OneToOneFeatureMixin, TransformerMixin, PersistenceMixin, DocumentationLinkMixin, BaseEstimator
):
    r"""Map columns with known bounds to the real line, with a logit or a logarithm.

    .. math::
        y = \operatorname{logit}\Bigl(\alpha + (1 - 2\alpha)
            \frac{x - \mathrm{low}}{\mathrm{high} - \mathrm{low}}\Bigr),
        \qquad \operatorname{logit}(p) = \log\frac{p}{1 - p}

    A density estimator spreads over the whole line. Of a share, a pixel or a probability it would
    place mass beyond the bounds; of its logit it cannot, and samples that are mapped back keep
    within them.

    A column with one bound is mapped by :math:`y = \log(x - \mathrm{low})`, or by
    :math:`y = -\log(\mathrm{high} - x)`. A logarithm needs no scale of its own, so that the
    density does not depend on units.

    Read more in the :ref:`User Guide <units>`.

    Parameters
    ----------
    low, high : float, None or array-like of shape (n_features,), default=0.0 and 1.0
        The bounds: what values *can* be, and not the extremes of the data at hand, beyond which
        the next row may lie. One number for all columns or one for each. None, or ``-np.inf``
        and ``np.inf``, are no bounds: a column without one of them has one bound, and a column
        without both passes through unchanged.

    alpha : float, default=1e-6
        How far from 0 and 1 the logit is evaluated, in [0, 0.5). The default sends values on a
        bound to ±13.8, and changes others hardly. With 0, the density in the units of `X` lies
        between the bounds and nowhere else, but values on a bound are refused, since their
        logit is infinite. It has no effect on columns with one bound, where values on the bound
        are always refused.

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
        self,
        low: float | ArrayLike | None = 0.0,
        high: float | ArrayLike | None = 1.0,
        *,
        alpha: float = 1e-6,
    ) -> None:
        self.low = low
        self.high = high
        self.alpha = alpha

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "low": [Real, "array-like", None],
        "high": [Real, "array-like", None],
        "alpha": [Interval(Real, 0, 0.5, closed="left")],
    }

    low_: NDArray[np.float64]
    high_: NDArray[np.float64]

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Check the bounds, and that `X` lies within them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
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
            The rows.

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
        has_low, has_high, above, below = self._distances(X)
        mapped = xp.astype(xp.log(above) - xp.log(below), X.dtype)
        return xp.where(has_low | has_high, mapped, X)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Map the real line back between the bounds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the precision of `X`. Bounded columns lie strictly between their bounds. A frame if
            ``set_output`` asks for frames.
        """
        check_is_fitted(self)
        Y = rows_back(self, X)
        xp = namespace(Y)
        has_low, has_high, low, high = self._sides(Y)
        first, last = self._ends(Y)
        logits, low, high = (xp.astype(array, xp.float64) for array in (Y, low, high))
        # The distance from the nearer of two bounds, which keeps its digits.
        odds = xp.exp(-xp.abs(logits))
        share = (odds / (1 + odds) - self.alpha) / (1 - 2 * self.alpha)
        of_one = xp.exp(
            xp.clip(xp.where(has_low, logits, -logits), -_MOST_EXPONENT, _MOST_EXPONENT)
        )
        distance = xp.where(has_low & has_high, (high - low) * share, of_one)
        from_low = has_low & ~(has_high & (logits >= 0))
        values = xp.clip(xp.where(from_low, low + distance, high - distance), first, last)
        values = xp.astype(values, Y.dtype)
        return framed(self, xp.where(has_low | has_high, values, Y), like=X)

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
        has_low, has_high, above, below = self._distances(X)
        log_slopes = -xp.log(above) - xp.log(below)
        # With two bounds 1 / above + 1 / below, where above + below is the distance between them.
        of_two = xp.log(above + below) + math.log1p(-2 * self.alpha)
        log_slopes = log_slopes + xp.where(has_low & has_high, of_two, xp.zeros_like(of_two))
        return xp.sum(log_slopes, axis=1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    def _bounds(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = self._bound("low", -np.inf), self._bound("high", np.inf)
        dtype = numpy_dtype(X)
        for j in range(self.n_features_in_):
            got = f"got {low[j]} to {high[j]} for {column_label(self, j)}"
            if not low[j].astype(dtype) < high[j].astype(dtype):
                raise ValueError(f"low must be below high in {dtype}, {got}.")
        return low, high

    def _bound(self, name: str, missing: float) -> NDArray[np.float64]:
        n_features = self.n_features_in_
        given = readable(getattr(self, name))
        given = as_numpy(given) if hasattr(given, "__dlpack__") else np.asarray(given, object)
        if given.dtype == object:
            present = np.vectorize(lambda value: value is not None, otypes=[bool])(given)
            given = np.where(present, given, missing)
        bound = floats(given, name)
        if bound.shape not in [(), (n_features,)]:
            raise ValueError(
                f"{name} must be one number or one for each of the {n_features} columns of X, "
                f"got an array of shape {bound.shape}."
            )
        if np.isnan(bound).any():
            raise ValueError(f"{name} must not be NaN, got {getattr(self, name)!r}.")
        return np.broadcast_to(bound, n_features).copy()

    def _sides(self, X: Any) -> tuple[Any, Any, Any, Any]:
        """Return which columns have a lower and an upper bound, and the bounds, as `X` is.

        A bound that is not there is 0, to compute with.
        """
        # A bound such as 0.1 is another number in float32: the one that the rows can reach.
        low, high = (as_numpy(bound).astype(numpy_dtype(X)) for bound in (self.low_, self.high_))
        has_low, has_high = np.isfinite(low), np.isfinite(high)
        low[~has_low], high[~has_high] = 0, 0
        has_low, has_high, low, high = (array_like(a, X) for a in (has_low, has_high, low, high))
        return has_low, has_high, low, high

    def _ends(self, Y: Any) -> tuple[Any, Any]:
        """Return the least and the greatest number of the precision of `Y` within the bounds."""
        dtype = numpy_dtype(Y)
        low, high = (as_numpy(bound).astype(dtype) for bound in (self.low_, self.high_))
        ends = np.nextafter(low, high), np.nextafter(high, low)
        first, last = (array_like(end.astype(np.float64), Y) for end in ends)
        return first, last

    def _distances(self, X: Any) -> tuple[Any, Any, Any, Any]:
        """Return which columns have which bound, and how far values lie from both bounds.

        Two bounds are drawn in by `alpha`, and the distance between them cancels: the logit is the
        difference of the logarithms. The distance from a bound that is not there is 1, whose
        logarithm is 0.
        """
        xp = namespace(X)
        has_low, has_high, low, high = self._sides(X)
        is_outside = (has_low & (low > X)) | (has_high & (high < X))
        if xp.any(is_outside):
            i, j = np.argwhere(as_numpy(is_outside))[0]
            raise ValueError(
                f"X has the value {as_numpy(X)[i, j]} in {column_label(self, j)}, outside of its "
                f"bounds {self.low_[j]} to {self.high_[j]}. Pass bounds low and high that hold "
                "every value that can occur, or -inf and inf for a column that is to pass through."
            )
        is_on_bound = (has_low & (low == X)) | (has_high & (high == X))
        if self.alpha > 0:
            is_on_bound = is_on_bound & (has_low ^ has_high)
        if xp.any(is_on_bound):
            i, j = np.argwhere(as_numpy(is_on_bound))[0]
            two = bool(as_numpy(has_low & has_high)[j])
            what = "logit is infinite with alpha=0" if two else "logarithm is infinite"
            remedy = "Set alpha above 0, widen low and high" if two else "Move the bound a little"
            raise ValueError(
                f"X has the value {as_numpy(X)[i, j]} in {column_label(self, j)}, which is one of "
                f"its bounds: its {what}. {remedy}, or dequantise whole numbers first."
            )
        values, low, high = (xp.astype(array, xp.float64) for array in (X, low, high))
        has_both = has_low & has_high
        with np.errstate(over="ignore", invalid="ignore"):
            margin = xp.where(has_both, self.alpha * (high - low), xp.zeros_like(low))
            share = xp.where(has_both, xp.full_like(low, 1 - 2 * self.alpha), xp.ones_like(low))
            one = xp.ones_like(values)
            above = xp.where(has_low, margin + share * (values - low), one)
            below = xp.where(has_high, margin + share * (high - values), one)
        if not xp.all(is_finite := xp.isfinite(above + below)):
            j = int(np.argwhere(~as_numpy(is_finite))[0, 1])
            raise ValueError(
                f"{column_label(self, j)} of X lies too far from its bounds {self.low_[j]} to "
                f"{self.high_[j]} for float64. Divide the column and its bounds by a constant."
            )
        return has_low, has_high, above, below
