"""Log-densities of a pipeline's rows in the units that these had before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_outlier_detector
from sklearn.pipeline import Pipeline

from skflow._sklearn.readable import readable
from skflow._sklearn.validation import as_numpy
from skflow.preprocessing.jacobians import label, transform_and_log_det, with_shape

__all__ = ["score_in_original_units", "score_samples_in_original_units"]


def score_samples_in_original_units(estimator: Any, X: Any) -> NDArray[np.float64]:
    r"""Return the log-density of each row in the units of `X`, whatever a Pipeline does to it.

    :meth:`!Pipeline.score_samples` gives the log-density of the *transformed* row, in the units
    that the last transformer leaves. Here the Jacobians of all transformers are added to it:

    .. math::
        \log p_X(x) = \log p_Z(T(x)) + \log\left|\det \frac{\partial T}{\partial x}(x)\right|

    So the densities of pipelines with different transformers can be compared.

    Read more in the :ref:`User Guide <units>`.

    Parameters
    ----------
    estimator : Pipeline or density estimator
        Fitted. A Pipeline's last step is a density estimator, and the steps before it are as
        :func:`log_abs_det_jacobian` takes them. A density estimator by itself has its scores in
        the units of `X` already, and a search is asked for its ``best_estimator_``.
    X : array-like of shape (n_samples, n_features)
        The rows.

    Returns
    -------
    log_density : ndarray of shape (n_samples,)
        In nats. After a :class:`DequantizationTransformer`, that of one draw of its noise.

    Raises
    ------
    TypeError
        If the last step is no density estimator, or the Jacobian of another is not known.
    ValueError
        If a step is no bijection as its parameters are set.

    See Also
    --------
    score_in_original_units : The mean, to be passed as ``scoring``.

    Notes
    -----
    Cost: that of scoring, and O(N·D) for each elementwise step; O(D³) for a PCA.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.preprocessing import LogitTransformer, score_samples_in_original_units
    >>> X = np.random.default_rng(0).beta(2, 3, size=(200, 2))
    >>> flow = RelativeGradientFlow(n_layers=2, max_iter=5, random_state=0)
    >>> pipeline = make_pipeline(LogitTransformer(), flow).fit(X)
    >>> log_density = score_samples_in_original_units(pipeline, X)
    >>> of_logits = pipeline.score_samples(X)
    >>> bool(np.allclose(log_density, of_logits + pipeline[0].log_abs_det_jacobian(X)))
    True
    """
    X = readable(X)
    if isinstance(estimator, Pipeline):
        X, log_det = transform_and_log_det(estimator[:-1], with_shape(X), label(estimator))
        result: NDArray[np.float64] = log_det + score_samples_in_original_units(estimator[-1], X)
        return result
    if hasattr(estimator, "best_estimator_"):
        return score_samples_in_original_units(estimator.best_estimator_, X)
    has_tags = hasattr(estimator, "__sklearn_tags__")
    if not hasattr(estimator, "score_samples") or (has_tags and is_outlier_detector(estimator)):
        raise TypeError(
            "Log-densities come from the score_samples of a density estimator, by itself or as "
            f"the last step of a Pipeline, got {estimator!r}, which is none."
        )
    return as_numpy(estimator.score_samples(X)).astype(np.float64, copy=False)


def score_in_original_units(estimator: Any, X: Any, y: None = None) -> float:
    """Return the mean log-density of the rows in the units of `X`, whatever a Pipeline does to it.

    Pass it as ``scoring`` to :class:`!sklearn.model_selection.GridSearchCV` or
    :func:`!sklearn.model_selection.cross_validate` where candidates differ in their transformers.
    ``Pipeline.score`` does not compare these: it is highest for the transformer that makes the
    numbers smallest.

    Parameters
    ----------
    estimator : Pipeline or density estimator
        As :func:`score_samples_in_original_units` takes it.
    X : array-like of shape (n_samples, n_features)
        The rows.
    y : None
        Ignored; here by convention.

    Returns
    -------
    score : float
        In nats per row. Higher is better.

    Raises
    ------
    TypeError, ValueError
        As :func:`score_samples_in_original_units`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn.preprocessing import PowerTransformer, StandardScaler
    >>> from skflow.preprocessing import score_in_original_units
    >>> pipeline = Pipeline([("scale", "passthrough"), ("density", GaussianMixture())])
    >>> search = GridSearchCV(
    ...     pipeline,
    ...     {"scale": ["passthrough", StandardScaler(), PowerTransformer()]},
    ...     scoring=score_in_original_units,
    ... ).fit(load_iris().data)
    >>> search.cv_results_["mean_test_score"].shape
    (3,)
    """
    return float(score_samples_in_original_units(estimator, X).mean())
