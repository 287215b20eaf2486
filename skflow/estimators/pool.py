"""A density pooled with stiff ones, which clumps of outliers do not bend."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.validation import (
    HasMethods,
    as_numpy,
    as_tensor,
    fit_context,
    row_weights,
    rows,
)
from skflow.estimators.state import own_autograd_mode, snapshot
from skflow.flow import Flow
from skflow.flow.blocks import MATRIX_ROWS, block_length
from skflow.training.stiff import stiff_densities

__all__ = ["LogarithmicPool"]


class LogarithmicPool(MetaEstimatorMixin, PersistenceMixin, DocumentationLinkMixin, BaseEstimator):
    r"""The mean log-density of an estimator and of two stiff ones, to find outliers by.

    A flexible density learns outliers that come in clumps, even from other rows than those that
    it judges. Stiff ones cannot, but see less of how columns depend on each other. The pool is
    the mean of three log-densities, so that a row is likely if it is usual at each scale:

    - as a whole, by `estimator`;
    - by its pairs of entries: columns whose ranks are jointly normal, with a spline for each
      column and a shrunk covariance;
    - by its entries alone: independent columns of Student's t with 3 degrees of freedom, which
      have one mode each. Medians and quartiles set where it lies and how wide it is.

    Read more in the :ref:`User Guide <outliers>`.

    Parameters
    ----------
    estimator : estimator with ``fit`` and ``score_samples``
        The flexible density, such as :class:`RelativeGradientFlow`. It is cloned and stays as it
        is. It has to score rows in the units that they come in.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one.

    columns_ : skflow.flow.Flow
        The density of independent columns.

    copula_ : skflow.flow.Flow
        The density of columns whose ranks are jointly normal.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    FlowOutlierDetector : Sets thresholds for its scores. It has this pool, with a
        flow in it, as its default.

    Notes
    -----
    This is a logarithmic opinion pool [1]_ of equal weights,
    :math:`\frac13 (\log p + \log q_1 + \log q_2)`. Up to a constant it is the log-density of the
    distribution that is closest to all three, in the mean of its Kullback-Leibler divergences
    from them. The constant is left out, so that the density adds up to less than one: compare
    rows by it, and not models.

    Cost: that of `estimator`, and some hundredths of a second for a thousand rows of ten columns.

    References
    ----------
    .. [1] Christian Genest and James V. Zidek, "Combining probability distributions: a critique
       and an annotated bibliography", Statistical Science 1, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from skflow import LogarithmicPool
    >>> rng = np.random.default_rng(0)
    >>> clump = rng.normal([5, 5], 0.01, size=(20, 2))
    >>> X = np.vstack([rng.normal(size=(180, 2)), clump])
    >>> flexible = KernelDensity(bandwidth=0.1).fit(X)
    >>> bool(flexible.score_samples([[5, 5]]) > flexible.score_samples([[0, 0]]))
    True
    >>> pool = LogarithmicPool(KernelDensity(bandwidth=0.1)).fit(X)
    >>> bool(pool.score_samples([[5, 5]]) > pool.score_samples([[0, 0]]))
    False
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "score_samples"])],
    }

    # A parameter is an estimator, which checks its own.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the three densities to the rows of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Two rows of numbers at least.
        y : object, default=None
            Ignored; here by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for. By default, each counts for one, and the
            estimator is told nothing of weights.

        Returns
        -------
        self : LogarithmicPool
            The fitted estimator. If `fit` fails, it stays as it was.
        """
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        with unchanged_on_error(self), own_autograd_mode():
            checked = rows(self, X, fitting=True, least=2)
            data, weights = as_tensor(checked), None
            if sample_weight is not None:
                weights = torch.from_numpy(row_weights(sample_weight, checked))
                data, weights = data[weights > 0], weights[weights > 0]
            stiff = stiff_densities(data, weights)
            self.estimator_ = clone(self.estimator).fit(X, **weighted)
            self.columns_, self.copula_ = stiff
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the mean of the three log-densities at each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of `X`, without the constant of the pool.
        """
        check_is_fitted(self)
        fitted = snapshot(self)
        checked = rows(fitted, X, method="score_samples")
        flexible = as_numpy(fitted.estimator_.score_samples(X)).astype(np.float64)
        with own_autograd_mode():
            by_columns, by_copula = (
                _log_prob(flow, as_tensor(checked)) for flow in (fitted.columns_, fitted.copula_)
            )
        pooled: NDArray[np.float64] = (flexible + by_columns + by_copula) / 3
        return pooled

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = deepcopy(inner.input_tags)
        tags.input_tags.sparse = False
        tags.array_api_support = inner.array_api_support
        return tags


def _log_prob(flow: Flow, X: torch.Tensor) -> NDArray[np.float64]:
    with flow.unchanged():
        blocks = X.split(block_length(X.shape[1], least=MATRIX_ROWS))
        return as_numpy(torch.cat([flow.log_prob(block.cpu().double()) for block in blocks]))
