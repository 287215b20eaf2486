"""Features of any kind as columns of numbers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import validate_data

from skflow._sklearn.validation import are_numeric, as_numpy, check_columns, is_frame, plain_array

__all__ = ["FeatureEncoder", "numbers"]


class FeatureEncoder(BaseEstimator):
    """Impute what is missing, mark it, and encode the categories of frames.

    Columns of numbers that miss entries have them replaced by the median, and a further column
    says where. Columns of a frame that hold strings or categories become a column for each
    category; a category that was not there in `fit` has zeros in all of them. Arrays of any
    library become NumPy's, and no configuration makes frames of what is returned.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn medians and categories.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A frame may hold strings and categories.
        y : object, default=None
            Ignored.
        """
        if is_frame(X):
            check_columns(self, X, fitting=True)
            are_numbers = are_numeric(X)
        else:
            X = numbers(self, X, fitting=True)
            are_numbers = [True] * X.shape[1]
        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float64)
        self.transformer_ = ColumnTransformer(
            [
                ("numbers", imputer, [j for j, number in enumerate(are_numbers) if number]),
                ("categories", encoder, [j for j, number in enumerate(are_numbers) if not number]),
            ]
        ).fit(X)
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return columns of numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With the columns that were there in `fit`.

        Returns
        -------
        columns : ndarray of shape (n_samples, n_columns)
            Finite, in float64.
        """
        if is_frame(X):
            check_columns(self, X)
        else:
            X = numbers(self, X)
        columns: NDArray[np.float64] = np.asarray(self.transformer_.transform(X), np.float64)
        return columns


def numbers(encoder: BaseEstimator, X: Any, *, fitting: bool = False) -> NDArray[np.float64]:
    """Return rows of numbers, some of which may be missing, as float64, and check their columns.

    Parameters
    ----------
    encoder : estimator
        Its ``n_features_in_`` is set when `fitting`, else compared.
    X : array-like of shape (n_samples, n_features)
        No frame.
    fitting : bool, default=False
        Whether this is a call of fit.
    """
    X = plain_array(X)
    checked: NDArray[np.float64] = validate_data(
        encoder,
        as_numpy(X) if hasattr(X, "__dlpack__") else X,
        reset=fitting,
        dtype=np.float64,
        ensure_all_finite="allow-nan",
    )
    return checked
