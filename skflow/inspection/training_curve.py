"""The course of a fit."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skflow.inspection.figures import one_panel, pyplot

__all__ = ["TrainingCurveDisplay"]


class TrainingCurveDisplay:
    """Log-likelihoods over the epochs of a fit, in nats per row.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters are
    stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    training_scores : array-like of shape (n_epochs,)
        The mean log-likelihood of the batches of each epoch.
    validation_scores : array-like of shape (n_epochs,) or None, default=None
        That of the held-out rows after each epoch, if there were any.
    best_epoch : int or None, default=None
        The epoch whose weights were kept, counted from 1; 0 is the start. None is not marked.
    best_score : float or None, default=None
        The validation score of these weights.
    name : str or None, default=None
        What the legend calls the estimator. None is without a name.

    Attributes
    ----------
    lines_ : list of Line2D
        The training curve, and that of validation if there is one.
    best_ : Line2D or None
        The mark at the best epoch.
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    RelativeGradientFlow : Its ``loss_curve_`` and ``validation_scores_`` are what is drawn.

    Notes
    -----
    A training score is measured while the weights change, and before a validation score of the
    same epoch. When a fit stops early, it goes back to the best weights and trains on from
    there; the curves show that as a jump.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.inspection import TrainingCurveDisplay
    >>> X = load_breast_cancer().data[:, :4]
    >>> flow = RelativeGradientFlow(max_iter=10, random_state=0).fit(X)
    >>> display = TrainingCurveDisplay.from_estimator(flow)
    >>> len(display.training_scores)
    10
    """

    def __init__(
        self,
        *,
        training_scores: ArrayLike,
        validation_scores: ArrayLike | None = None,
        best_epoch: int | None = None,
        best_score: float | None = None,
        name: str | None = None,
    ) -> None:
        self.training_scores = training_scores
        self.validation_scores = validation_scores
        self.best_epoch = best_epoch
        self.best_score = best_score
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw how the fit of a flow went.

        Where all of fewer than 1,000 rows were fitted in the end, this is the fit that chose for
        how long, with the rows that it held out: the best of the flow's ``candidates_``.

        Parameters
        ----------
        estimator : RelativeGradientFlow
            Fitted.
        name : str or None, default=None
            What the legend calls it, to tell several on the same axes apart.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        line_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.plot` for both curves.

        Returns
        -------
        display : TrainingCurveDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator does not record its fits as a flow does.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_") or not hasattr(estimator, "flow_"):
            raise TypeError(
                f"{cls.__name__} draws the fit of a RelativeGradientFlow, got {estimator!r}. "
                "Pass the flow itself: of a Pipeline the last step, of a search best_estimator_."
            )
        losses, scores = estimator.loss_curve_, np.asarray(estimator.validation_scores_)
        best_score = estimator.best_validation_score_
        for candidate in estimator.candidates_:
            if candidate["best_validation_score"] == best_score:
                losses, scores = (
                    candidate["loss_curve"],
                    np.asarray(candidate["validation_scores"]),
                )
                break  # of equal ones, the fit goes by the first
        best_epoch = None
        if best_score is not None:
            found = np.flatnonzero(scores == best_score)
            if len(found):
                best_epoch = int(found[0]) + 1
            elif len(scores) and not estimator.warm_start:
                best_epoch = 0
        display = cls(
            training_scores=-np.asarray(losses),
            validation_scores=scores if len(scores) else None,
            best_epoch=best_epoch,
            best_score=best_score,
            name=name,
        )
        return display.plot(ax=ax, line_kw=line_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        name: str | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        name : str or None, default=None
            What the legend calls the estimator. None is the name that is stored.
        line_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.plot` for both curves.

        Returns
        -------
        display : TrainingCurveDisplay
            The display, drawn.
        """
        ax = one_panel(f"{type(self).__name__}.plot", ax)
        name = self.name if name is None else name
        prefix = "" if name is None else f"{name}: "
        curves = {"training": self.training_scores, "validation": self.validation_scores}
        self.lines_ = []
        for label, scores in curves.items():
            if scores is None:
                continue
            epochs = np.arange(1, len(np.asarray(scores)) + 1)
            style = {"label": prefix + label, **(line_kw or {})}
            self.lines_ += ax.plot(epochs, scores, **style)
        self.best_ = None
        if self.best_epoch is not None and self.best_score is not None:
            (self.best_,) = ax.plot(
                self.best_epoch,
                self.best_score,
                linestyle="none",
                marker="o",
                color=self.lines_[-1].get_color(),
                label=f"{prefix}best, epoch {self.best_epoch}",
            )
        ax.set(xlabel="epoch", ylabel="log-likelihood (nats per row)")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self
