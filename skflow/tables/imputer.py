"""Filling the holes of tables."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.validation import HasMethods, StrOptions, fit_context
from skflow.tables.flow import TableFlow

__all__ = ["FlowImputer"]


class FlowImputer(
    PersistenceMixin,
    DocumentationLinkMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Fill holes in tables by what a density says of them.

    Read more in the :ref:`User Guide <tables>`.

    Parameters
    ----------
    estimator : TableFlow or None, default=None
        The density, which is cloned. None is ``TableFlow(random_state=random_state)``.

    strategy : {"mean", "median", "sample"}, default="mean"
        What is filled in: the mean or the median given what is observed in the row, or a draw.
        For multiple imputation, call :meth:`transform` several times with "sample" and
        ``random_state=None``: holes that are hard to tell then differ from call to call. Of
        categories, mean and median are the likeliest; but the median of numbers that are
        categorical is their lower median.

    random_state : int, RandomState instance or None, default=None
        Determines the fit of the default density, and draws.

    Attributes
    ----------
    estimator_ : TableFlow
        The fitted density.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    TableFlow.sample_given : Several draws at once.
    sklearn.impute.IterativeImputer : By regressions of each column on the others, in less time.

    Notes
    -----
    Cost: that of a fit of :class:`TableFlow`; a row takes as long as ``TableFlow.sample_given``.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import FlowImputer, TableFlow
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1)) + 0.1 * rng.normal(size=(300, 2))
    >>> X[::5, 1] = np.nan
    >>> imputer = FlowImputer(TableFlow(max_iter=5, random_state=0))
    >>> bool(np.isnan(imputer.fit_transform(X)).any())
    False
    """

    def __init__(
        self,
        estimator: TableFlow | None = None,
        *,
        strategy: Literal["mean", "median", "sample"] = "mean",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.strategy = strategy
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "impute", "sample_given"]), None],
        "strategy": [StrOptions({"mean", "median", "sample"})],
        "random_state": ["random_state"],
    }

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the density of rows, which may have holes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for.

        Returns
        -------
        self : FlowImputer
            The fitted imputer.
        """
        with unchanged_on_error(self):
            estimator = TableFlow() if self.estimator is None else clone(self.estimator)
            if self.estimator is None:
                seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
                estimator.set_params(random_state=seed)
            self.estimator_ = estimator.fit(X, sample_weight=sample_weight)
            self.n_features_in_ = self.estimator_.n_features_in_
            self.__dict__.pop("feature_names_in_", None)
            if hasattr(self.estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.estimator_.feature_names_in_
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Fill the holes of rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            Without holes, and with the types that the table in :meth:`fit` had.
        """
        check_is_fitted(self)
        if self.strategy == "sample":
            return self.estimator_.sample_given(X, random_state=self.random_state)
        return self.estimator_.impute(X, strategy=self.strategy)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
