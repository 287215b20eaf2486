"""Callbacks for scikit-learn's ``set_callbacks``; they need scikit-learn 1.9 or later."""

from __future__ import annotations

from typing import Any

import sklearn

try:
    from sklearn.callback import ScoringMonitor
except ImportError as error:
    raise ImportError(
        "skflow.callbacks needs scikit-learn 1.9 or later, the first with callbacks, and this is "
        f"scikit-learn {sklearn.__version__}."
    ) from error

from numpy.typing import ArrayLike

__all__ = ["LogLikelihoodMonitor"]


class LogLikelihoodMonitor(ScoringMonitor):
    """Record log-likelihoods after each epoch of a fit, and of every fit in a search.

    :class:`!sklearn.callback.ScoringMonitor` does so for estimators that are fitted to targets:
    where there is no `y`, it computes nothing. This is one for
    :class:`~skflow.RelativeGradientFlow` and :class:`~skflow.ConditionalFlow`, to be passed to
    their ``set_callbacks``.

    Read more in the :ref:`User Guide <watching>`.

    Parameters
    ----------
    X_val : array-like of shape (n_samples, n_features) or None, default=None
        Further rows to score after each epoch, which `fit` does not see. In a Pipeline they have
        to be as the steps before the flow leave them.
    y_val : array-like of shape (n_samples,) or (n_samples, n_targets) or None, default=None
        Their targets, of a conditional flow.

    See Also
    --------
    sklearn.callback.ScoringMonitor : For other scores, of estimators with targets.
    skflow.RelativeGradientFlow : Its ``loss_curve_`` and ``validation_scores_`` are the same
        record of its last fit.

    Notes
    -----
    ``get_logs`` is that of :class:`!sklearn.callback.ScoringMonitor`: it returns the log of the
    last run, or with ``select="all"`` a list of those of all. A run is one call of ``fit``, be
    it that of the flow or of a search around it. The ``data`` of a log is a list of dicts, one
    for each epoch, and ``data_as_pandas`` a DataFrame. Beside what says which fit the epoch
    belongs to (fits have different ``parent_task_id_path``), there are, in nats per row:

    - ``train_score``: the mean log-likelihood of the epoch's batches;
    - ``validation_score``: that of the rows that `fit` holds out, after the epoch. It is missing
      without `early_stopping`;
    - ``X_val_score``: that of `X_val`, if there are any, by the flow that `fit` would leave if
      it ended with this epoch. With `early_stopping`, that is the best one so far.

    Of fewer than 1,000 rows, the log is that of the first of three fits: see `early_stopping` and
    `input_noise` of :class:`~skflow.RelativeGradientFlow`.

    Cost: for each epoch, a copy of the weights, their log-determinants in O(D³) if training
    tracked them, what ``round_trip_error_`` and ``extreme_singular_values_`` take, which are some
    hundredths of a second for few columns, and the scores of `X_val`, in its precision.

    Examples
    --------
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.callbacks import LogLikelihoodMonitor
    >>> from skflow.datasets import half_moons
    >>> X = half_moons().sample(3000, random_state=0)
    >>> monitor = LogLikelihoodMonitor(X_val=X[:500])
    >>> flow = RelativeGradientFlow(n_layers=2, max_iter=3, random_state=0)
    >>> flow = flow.set_callbacks(monitor).fit(X[500:])
    >>> log = monitor.get_logs().data
    >>> [row["validation_score"] for row in log] == flow.validation_scores_
    True
    >>> log[-1]["X_val_score"] == flow.score(X[:500])
    True
    """

    def __init__(self, X_val: ArrayLike | None = None, y_val: ArrayLike | None = None) -> None:
        super().__init__(scoring=_log_likelihoods)
        self.X_val = X_val
        self.y_val = y_val

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Record an epoch; called by the estimator.

        Parameters
        ----------
        estimator : RelativeGradientFlow
            The one that is being fitted.
        context : sklearn.callback.CallbackContext
            What has ended.
        fitted_estimator : RelativeGradientFlow or None, default=None
            What `estimator` would be if its fit ended now.
        """
        if context.task_name == "epoch":
            # It would score nothing without a target, which our scorer has no use for.
            super().on_fit_task_end(
                estimator,
                context,
                X=(self.X_val, self.y_val),
                y=(),
                fitted_estimator=fitted_estimator,
            )


def _log_likelihoods(
    estimator: Any, X: tuple[ArrayLike | None, ArrayLike | None], y: Any
) -> dict[str, float]:
    scores = {"train_score": -estimator.loss_curve_[-1]}
    if estimator.validation_scores_:
        scores["validation_score"] = estimator.validation_scores_[-1]
    X_val, y_val = X
    if X_val is not None:
        scores["X_val_score"] = estimator.score(*((X_val,) if y_val is None else (X_val, y_val)))
    return scores
