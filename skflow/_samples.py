"""Samples of any density estimator, Pipelines among them."""

from __future__ import annotations

from copy import copy
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

__all__ = ["draw"]


def draw(estimator: Any, n_samples: int, random_state: Any) -> NDArray[np.float64]:
    """Draw rows from a density estimator, a Pipeline that ends in one, or a search for one.

    Parameters
    ----------
    estimator : estimator with ``sample``
    n_samples : int
    random_state : int, RandomState instance or None
        Determines the samples, whether it is an argument of ``sample`` or a parameter of the
        estimator, which is left as it is. Not used where it is neither.

    Returns
    -------
    samples : ndarray of shape (n_samples, n_features)
        In the units of what the estimator was fitted to.

    Raises
    ------
    TypeError
        If it cannot sample, or a step of the Pipeline cannot go back.
    """
    if hasattr(estimator, "best_estimator_"):
        return draw(estimator.best_estimator_, n_samples, random_state)
    if isinstance(estimator, Pipeline):
        samples: Any = draw(estimator[-1], n_samples, random_state)
        for _, step in reversed(estimator.steps[:-1]):
            if step is None or step == "passthrough":
                continue
            if not hasattr(step, "inverse_transform"):
                raise TypeError(
                    f"Samples cannot be transformed back through {step!r}: it has no "
                    "inverse_transform."
                )
            samples = step.inverse_transform(samples)
        return np.asarray(samples, dtype=np.float64)
    if not hasattr(estimator, "sample"):
        raise TypeError(
            "Samples come from the method sample of a density estimator, by itself or as the "
            f"last step of a Pipeline, got {estimator!r}, which has none."
        )
    rng = check_random_state(random_state)
    if "random_state" in signature(estimator.sample).parameters:
        samples = estimator.sample(n_samples, random_state=rng)
    else:
        if hasattr(estimator, "random_state"):  # a mixture: by itself it repeats its rows
            estimator = copy(estimator)
            estimator.random_state = rng
        samples = estimator.sample(n_samples)
    if isinstance(samples, tuple):  # a mixture says of each row where it comes from
        samples = samples[0]
    return np.asarray(samples, dtype=np.float64)
