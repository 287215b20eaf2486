"""Samples of any density estimator, Pipelines among them."""

from __future__ import annotations

from copy import copy
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skflow._sklearn.room import check_n_samples
from skflow.preprocessing.inverses import inverse_transform
from skflow.preprocessing.jacobians import label

__all__ = ["draw_rows", "sample_in_original_units"]


def sample_in_original_units(
    estimator: Any, n_samples: int = 1, random_state: Any = None
) -> NDArray[np.float64]:
    """Draw rows from a Pipeline, and map them back to the units of what it was fitted to.

    Parameters
    ----------
    estimator : Pipeline or density estimator
        Fitted. A Pipeline's last step has a method ``sample``, and the steps before it have
        ``inverse_transform``. A ColumnTransformer is inverted block by block. A density estimator
        by itself samples in the units of its rows already, and a search is asked for its
        ``best_estimator_``.
    n_samples : int, default=1
        The number of rows to draw.
    random_state : int, RandomState instance or None, default=None
        Determines the rows. Pass an int for the same rows each time. It has no effect on an
        estimator that neither takes nor has a ``random_state``.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The columns are those that the first step was fitted to, in their order.

    Raises
    ------
    TypeError
        If the last step cannot sample, or another one has no ``inverse_transform`` or is a
        FunctionTransformer without `inverse_func`.
    ValueError
        If a ColumnTransformer drops a column or maps one more than once.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.pipeline import make_pipeline
    >>> from skflow.preprocessing import LogitTransformer, sample_in_original_units
    >>> X = np.random.default_rng(0).beta(2, 3, size=(200, 2))
    >>> pipeline = make_pipeline(LogitTransformer(), GaussianMixture()).fit(X)
    >>> samples = sample_in_original_units(pipeline, 100, random_state=0)
    >>> bool(((samples > 0) & (samples < 1)).all())
    True
    """
    return np.asarray(draw_rows(estimator, n_samples, random_state), dtype=np.float64)


def draw_rows(estimator: Any, n_samples: int, random_state: Any) -> Any:
    """Draw rows as :func:`sample_in_original_units` does, and leave them of the kind they are.

    Parameters
    ----------
    estimator : Pipeline or density estimator
        Fitted.
    n_samples : int
        The number of rows to draw.
    random_state : int, RandomState instance or None
        Determines the rows.

    Returns
    -------
    X : array or frame of shape (n_samples, n_features)
        An array of NumPy if the estimator is a Pipeline.
    """
    n_features = getattr(estimator, "n_features_in_", None)
    check_n_samples(n_samples, n_features if isinstance(n_features, int) else 1)
    if hasattr(estimator, "best_estimator_"):
        return draw_rows(estimator.best_estimator_, n_samples, random_state)
    if isinstance(estimator, Pipeline):
        samples: Any = sample_in_original_units(estimator[-1], n_samples, random_state)
        return inverse_transform(estimator[:-1], samples, label(estimator))
    # Frames draw their rows, too.
    is_estimator = hasattr(estimator, "fit") or hasattr(estimator, "score_samples")
    is_instance = is_estimator and not isinstance(estimator, type)
    if not hasattr(estimator, "sample") or not is_instance:
        raise TypeError(
            "Samples come from the method sample of a density estimator, by itself or as the "
            f"last step of a Pipeline, got {estimator!r}, which is none."
        )
    rng = check_random_state(random_state)
    if "random_state" in signature(estimator.sample).parameters:
        samples = estimator.sample(n_samples, random_state=rng)
    else:
        if hasattr(estimator, "random_state"):  # a mixture: by itself it repeats its rows
            estimator = copy(estimator)
            estimator.random_state = rng
        samples = estimator.sample(n_samples)
    # A mixture says of each row where it comes from.
    return samples[0] if isinstance(samples, tuple) else samples
