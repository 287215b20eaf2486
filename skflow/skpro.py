"""Conditional flows as regressors of skpro; they need skpro, which the extra ``skpro`` brings."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, softmax
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

try:
    import pandas as pd
    from skpro.distributions.base import BaseDistribution
    from skpro.regression.base import BaseProbaRegressor
except ImportError as error:
    raise ImportError("skflow.skpro needs skpro: pip install 'skflow[skpro]'.") from error

from skflow.estimators import ConditionalFlow

__all__ = ["ConditionalFlowDistribution", "ConditionalFlowRegressor"]

# Energies and norms of one target are sums over its quantiles, at so many equally spaced latents
# within so many standard deviations. With several targets, they are means over so many quantiles,
# as many as there are points behind them.
_N_NODES, _MOST_LATENT = 257, 8.0
_N_POINTS = 512
_LEAST_LEVEL = 1e-9


class ConditionalFlowRegressor(BaseProbaRegressor):
    """A :class:`~skflow.ConditionalFlow` as a probabilistic regressor of skpro.

    It has the methods and the frames of skpro's regressors, and their place in its pipelines and
    searches. It needs skpro, which ``pip install "skflow[skpro]"`` brings.

    ``predict_interval`` returns the flow's intervals. If its `cv` calibrates them, they are not
    those of the distribution's quantiles.

    Read more in the :ref:`User Guide <skpro>`.

    Parameters
    ----------
    flow : ConditionalFlow or None, default=None
        What is fitted, to one or several targets. By default, ``ConditionalFlow()``.

    Attributes
    ----------
    flow_ : ConditionalFlow
        A clone of `flow`, fitted. Its ``score_samples`` is the joint log-density of several
        targets, which skpro has no name for.

    See Also
    --------
    ConditionalFlowDistribution : What ``predict_proba`` returns.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skflow import ConditionalFlow
    >>> from skflow.skpro import ConditionalFlowRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"x": rng.uniform(-1, 1, size=200)})
    >>> y = pd.DataFrame({"y": np.sin(3 * X["x"]) + 0.1 * rng.normal(size=200)})
    >>> flow = ConditionalFlow(max_iter=5, random_state=0)
    >>> regressor = ConditionalFlowRegressor(flow).fit(X, y)
    >>> regressor.predict_proba(X[:3]).log_pdf(y[:3]).shape
    (3, 1)
    >>> regressor.predict_interval(X[:3], coverage=[0.5, 0.9]).shape
    (3, 4)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "capability:missing": True,
        "capability:multioutput": True,
    }

    def __init__(self, flow: ConditionalFlow | None = None) -> None:
        self.flow = flow
        super().__init__()

    def _fit(self, X: pd.DataFrame, y: pd.DataFrame, C: Any = None) -> Self:
        self.flow_ = clone(ConditionalFlow() if self.flow is None else self.flow)
        self.flow_.fit(_named_by_strings(X), y)
        return self

    # Means and variances are those of the distribution: skpro asks it.
    def _predict_proba(self, X: pd.DataFrame) -> ConditionalFlowDistribution:
        flow, columns = FrozenEstimator(self.flow_), self._get_columns()
        return ConditionalFlowDistribution(flow, _named_by_strings(X), None, X.index, columns)

    def _predict_quantiles(self, X: pd.DataFrame, alpha: list[float]) -> pd.DataFrame:
        quantiles = self.flow_.predict_quantiles(_named_by_strings(X), alpha)
        columns = self._get_columns("predict_quantiles", alpha=alpha)
        return pd.DataFrame(quantiles.reshape(len(X), -1), X.index, columns)

    # Those of the flow, which may be calibrated.
    def _predict_interval(self, X: pd.DataFrame, coverage: list[float]) -> pd.DataFrame:
        named = _named_by_strings(X)
        ends = np.stack([self.flow_.predict_interval(named, each) for each in coverage], axis=2)
        columns = self._get_columns("predict_interval", coverage=coverage)
        return pd.DataFrame(ends.reshape(len(X), -1), X.index, columns)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters for the checks of skpro.

        Parameters
        ----------
        parameter_set : str, default="default"
            Not used.

        Returns
        -------
        params : list of dict
            For small fits.
        """
        small = ConditionalFlow(max_iter=2, n_trees=5, random_state=0)
        plain = ConditionalFlow(max_iter=2, n_trees=0, early_stopping=False, random_state=0)
        return [{"flow": small}, {"flow": plain}]


class ConditionalFlowDistribution(BaseDistribution):
    """The distributions that a :class:`~skflow.ConditionalFlow` gives rows of features.

    With one target, densities, probabilities and quantiles are exact; means, variances, energies
    and norms of densities are integrals over its latent.

    With several, skpro asks for the distribution of each target by itself. These are known by the
    512 points of ``predict_quantiles`` and have no density: ``pdf`` and ``log_pdf`` raise. Samples
    are of all targets together, and the joint log-density is the flow's ``score_samples``.

    Parameters
    ----------
    flow : FrozenEstimator
        Around a fitted ConditionalFlow, so that clones of the distribution keep its fit.
    X : pandas.DataFrame of shape (n_samples, n_features)
        The features.
    targets : list of int, int or None, default=None
        The numbers of the targets. By default, all. With an int and one row of `X`, the
        distribution is that of a number, and not of a frame.
    index : pandas.Index or None, default=None
        The names of the rows. By default, those of `X`.
    columns : pandas.Index or None, default=None
        The names of the targets. By default, their numbers.

    See Also
    --------
    ConditionalFlowRegressor : Its ``predict_proba`` makes them.

    Notes
    -----
    Each call maps the features anew. Samples are drawn by NumPy's global generator, as those of
    other distributions of skpro are.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.frozen import FrozenEstimator
    >>> from skflow import ConditionalFlow
    >>> from skflow.skpro import ConditionalFlowDistribution
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"x": rng.uniform(-1, 1, size=200)})
    >>> y = np.sin(3 * X["x"]) + 0.1 * rng.normal(size=200)
    >>> flow = ConditionalFlow(max_iter=5, random_state=0).fit(X, y)
    >>> distribution = ConditionalFlowDistribution(FrozenEstimator(flow), X[:3])
    >>> distribution.quantile([0.1, 0.5, 0.9]).shape
    (3, 3)
    >>> bool(np.isclose(distribution.iloc[0, 0].cdf(distribution.iloc[0, 0].ppf(0.3)), 0.3))
    True
    """

    _tags: ClassVar[dict[str, Any]] = {
        "distr:measuretype": "continuous",
        "distr:paramtype": "nonparametric",
        "capabilities:exact": ["pdf", "log_pdf", "cdf", "ppf"],
        "capabilities:approx": ["mean", "var", "energy", "pdfnorm"],
    }

    def __init__(
        self,
        flow: FrozenEstimator,
        X: pd.DataFrame,
        targets: list[int] | int | None = None,
        index: Any = None,
        columns: Any = None,
    ) -> None:
        self.flow = flow
        self.X = X
        self.targets = targets
        self._numbers = np.atleast_1d(np.arange(flow.n_targets_) if targets is None else targets)
        if not isinstance(targets, int):
            index = X.index if index is None else index
            columns = pd.Index(self._numbers) if columns is None else columns
        super().__init__(index=index, columns=columns)
        if flow.n_targets_ > 1:
            approximate = ["mean", "var", "energy", "cdf", "ppf"]
            self.set_tags(**{"capabilities:exact": [], "capabilities:approx": approximate})

    def _log_pdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        self._refuse_several()
        return self._entries(self.flow.score_samples(self.X, self._rows(x)))

    def _pdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(self._log_pdf(x))

    def _cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._entries(self.flow.cdf(self.X, self._rows(x)))

    def _ppf(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.flow.n_targets_ == 1:
            z = ndtri(p)
            inside = np.isfinite(z)
            y = self.flow.from_latents(self.X, self._rows(np.where(inside, z, 0)))
            return np.where(inside, self._entries(y), z)
        levels, _, quantiles = self._nodes()
        rows = quantiles.reshape(-1, len(levels))
        y = [np.interp(each, levels, row) for each, row in zip(p.flat, rows, strict=True)]
        return np.reshape(y, self.shape)

    def _mean(self) -> NDArray[np.float64]:
        return self._entries(self.flow.predict(self.X))

    def _var(self) -> NDArray[np.float64]:
        return self._entries(self.flow.predict_std(self.X) ** 2)

    def _energy_self(self) -> NDArray[np.float64]:
        _, weights, y = self._nodes()
        # The mean of |Y - Y'| is one over the rank of Y, as the values are in order.
        return self._over_rows(2 * y @ (weights * (2 * np.cumsum(weights) - weights - 1)))

    def _energy_x(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        _, weights, y = self._nodes()
        return self._over_rows(np.abs(y - x.reshape(*y.shape[:2], 1)) @ weights)

    def pdfnorm(self, a: float = 2) -> pd.DataFrame | float:
        """Return integrals of a power of the density, for one target.

        Parameters
        ----------
        a : float, default=2
            The power.

        Returns
        -------
        norm : pandas.DataFrame or float
            The integral for each entry.
        """
        return self._boilerplate("_pdfnorm", a=float(a))

    def _pdfnorm(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        self._refuse_several()
        levels, weights, y = self._nodes()
        z = ndtri(levels)
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / np.gradient(y, z, axis=-1)
        return np.reshape(density ** (a.reshape(-1, 1, 1) - 1) @ weights, self.shape)

    def _sample(self, n_samples: int | None = None) -> pd.DataFrame | float:
        n_each = 1 if n_samples is None else n_samples
        y = self.flow.sample(self.X, n_each).reshape(len(self.X), -1, n_each)[:, self._numbers]
        if self.ndim == 0:
            return float(y[0, 0, 0]) if n_samples is None else pd.DataFrame(y[0].T)
        samples = [pd.DataFrame(y[..., i], self.index, self.columns) for i in range(n_each)]
        return samples[0] if n_samples is None else pd.concat(samples, keys=range(n_each))

    def _subset_params(
        self, rowidx: Any, colidx: Any, coerce_scalar: bool = False
    ) -> dict[str, Any]:
        X = self.X if rowidx is None else self.X.iloc[np.atleast_1d(rowidx)]
        targets = self._numbers if colidx is None else np.atleast_1d(self._numbers[colidx])
        return {
            "flow": self.flow,
            "X": X,
            "targets": int(targets[0]) if coerce_scalar else targets.tolist(),
        }

    def _nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return probabilities, their weights, and the quantiles of each row and target."""
        if self.flow.n_targets_ == 1:
            z = np.linspace(-_MOST_LATENT, _MOST_LATENT, _N_NODES)
            levels, weights = ndtr(z), softmax(-0.5 * z**2)
        else:
            levels = np.linspace(0, 1, _N_POINTS).clip(_LEAST_LEVEL, 1 - _LEAST_LEVEL)
            weights = np.full(_N_POINTS, 1 / _N_POINTS)
        quantiles = self.flow.predict_quantiles(self.X, levels)
        quantiles = quantiles.reshape(len(self.X), -1, len(levels))
        return levels, weights, quantiles[:, self._numbers]

    def _rows(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of these targets as rows of all, the others of which do not matter."""
        rows = np.zeros((len(self.X), self.flow.n_targets_))
        rows[:, self._numbers] = x.reshape(len(self.X), -1)
        return rows

    def _entries(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what there is of these targets among rows of all."""
        return rows.reshape(len(self.X), -1)[:, self._numbers].reshape(self.shape)

    def _over_rows(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        return energies.sum(axis=1) if self.ndim > 0 else energies.reshape(())

    def _refuse_several(self) -> None:
        if self.flow.n_targets_ > 1:
            raise NotImplementedError(
                "skpro asks for the density of each target by itself, and a flow of several "
                "targets knows that of all together: see score_samples of the regressor's flow_."
            )

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters for the checks of skpro.

        Parameters
        ----------
        parameter_set : str, default="default"
            Not used.

        Returns
        -------
        params : list of dict
            Of one target, of a number, and of several targets.
        """
        rng = np.random.default_rng(0)
        X, y = pd.DataFrame(rng.normal(size=(40, 2))), rng.normal(size=(40, 3))
        small = ConditionalFlow(max_iter=2, n_trees=0, early_stopping=False, random_state=0)
        one = FrozenEstimator(clone(small).fit(X, y[:, 0]))
        several = FrozenEstimator(clone(small).fit(X, y))
        return [
            {"flow": one, "X": X[:5], "index": pd.Index([3, 1, 0, 4, 8])},
            {"flow": one, "X": X[:1], "targets": 0},
            {"flow": several, "X": X[:5], "columns": pd.Index(["a", "b", "c"])},
            {"flow": several, "X": X[:5], "targets": [2, 0]},
        ]


def _named_by_strings(X: pd.DataFrame) -> pd.DataFrame:
    """Name columns as scikit-learn has them; skpro also takes numbers, and both at once."""
    return X.rename(columns=str)
