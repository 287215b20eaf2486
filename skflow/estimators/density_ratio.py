"""How much likelier a row is in one sample than in another."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.codes import CategoryCoder
from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.validation import HasMethods, check_columns, fit_context
from skflow.estimators.held_out import seeded_clone
from skflow.preprocessing import score_samples_in_original_units

__all__ = ["DensityRatio"]

# So that each sample has rows among those that say when the default classifier stops.
_LEAST_ROWS = 10


class DensityRatio(MetaEstimatorMixin, PersistenceMixin, DocumentationLinkMixin, BaseEstimator):
    r"""The logarithm of the ratio of two densities, from a sample of each.

    A classifier that tells the rows of two samples apart knows the ratio of their densities: where
    it finds a row c times as likely to be of one as of the other, so is the ratio, up to the
    sizes of the samples [1]_,

    .. math::
        \log\frac{p(x)}{q(x)} = \log\frac{P(X \mid x)}{P(Y \mid x)} - \log\frac{n_X}{n_Y}.

    No density is needed for it, so that frames with categories and missing entries will do. The
    other way is a density for each sample, and their difference.

    The ratio says which rows of a table are new, weighs rows of one sample to stand for the other,
    and its mean over rows of `X` is the Kullback-Leibler divergence.
    :func:`~skflow.metrics.drift` says whether it is more than chance.

    Read more in the :ref:`User Guide <drift>`.

    Parameters
    ----------
    estimator : classifier or density estimator, default=None
        What the ratio comes from. It is cloned and stays as it is.

        - None: :class:`!sklearn.ensemble.HistGradientBoostingClassifier` with trees of 4 leaves,
          as many as raise the likelihood of a fifth of the rows.
        - A classifier, by scikit-learn's ``is_classifier``, with ``predict_proba``. It is given
          numbers: categories as codes, dates in seconds, and NaN for what is missing. Its
          probabilities must be calibrated.
        - A density estimator with ``score_samples``, such as :class:`RelativeGradientFlow`, or
          a search for one, or a Pipeline that ends in one: one is fitted to each sample, as it
          comes. Their difference is in the units of the rows, which cancel.

    random_state : int, RandomState instance or None, default=None
        Determines the seeds of `estimator` where its ``random_state`` is None, and the default
        classifier. Pass an int for the same result each time.

    Attributes
    ----------
    classifier_ : classifier
        The fitted one, for which 1 is a row of `X` and 0 one of `Y`. Only if the ratio comes from
        a classifier.

    densities_ : tuple of two density estimators
        Those fitted to `X` and to `Y`. Only if the ratio comes from densities.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    skflow.metrics.drift : Tests whether two tables differ, and says in which columns.
    skflow.metrics.kl_divergence : The mean log-ratio of two fitted densities.

    Notes
    -----
    Either way flatters the rows that it was fitted to. Score other ones.

    The default errs towards zero: trees are few where they do not tell unseen rows apart, and do
    not extrapolate. Densities may be better where there are few columns, all of numbers, and far
    worse in many, where the errors of both add up.

    Cost: a fit of the classifier, or of two densities.

    References
    ----------
    .. [1] M. Sugiyama, T. Suzuki and T. Kanamori, "Density Ratio Estimation in Machine Learning",
       Cambridge University Press, 2012.

    Examples
    --------
    Two normal samples, the second of which has moved by one: the ratio is linear, and the
    divergence is one half.

    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow import DensityRatio
    >>> rng = np.random.default_rng(0)
    >>> X, X_test = rng.normal(0, 1, size=(2, 2000, 1))
    >>> Y = rng.normal(1, 1, size=(2000, 1))
    >>> for estimator in (None, GaussianMixture()):
    ...     ratio = DensityRatio(estimator, random_state=0).fit(X, Y)
    ...     print(ratio.score_samples([[-1.0], [0.5], [2.0]]).round(0) + 0.0)
    ...     print(f"{ratio.score_samples(X_test).mean():.1f}")
    [ 1.  0. -2.]
    0.5
    [ 2.  0. -2.]
    0.5
    """

    def __init__(self, estimator: Any = None, *, random_state: Any = None) -> None:
        self.estimator = estimator
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [
            None,
            HasMethods(["fit", "predict_proba"]),
            HasMethods(["fit", "score_samples"]),
        ],
        "random_state": ["random_state"],
    }

    # A parameter may be an estimator, which checks its own.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, Y: Any) -> Self:
        """Learn the ratio from a sample of each density.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
            Rows of the density in the numerator: an array of numbers, or a frame. Ten or more if
            `estimator` is None.
        Y : array-like of shape (n_samples_Y, n_features)
            Rows of the density in the denominator, with the same columns. Likewise.

        Returns
        -------
        self : DensityRatio
            The fitted estimator. If `fit` fails, it stays as it was.

        Raises
        ------
        TypeError
            If `estimator` is neither a classifier nor a density estimator.
        ValueError
            If `X` and `Y` have different columns, or too few rows.
        """
        rng = check_random_state(self.random_state)
        with unchanged_on_error(self):
            for name in ("classifier_", "densities_"):
                self.__dict__.pop(name, None)
            if self.estimator is None or is_classifier(self.estimator):
                self._fit_classifier(X, Y, rng)
            else:
                if not hasattr(self.estimator, "score_samples"):
                    raise TypeError(
                        "estimator must be a classifier with predict_proba or a density estimator "
                        f"with score_samples, got {self.estimator!r}, which is neither."
                    )
                check_columns(self, X, fitting=True)
                check_columns(self, Y)
                self.densities_ = tuple(seeded_clone(self.estimator, rng).fit(Z) for Z in (X, Y))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithm of the ratio at each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the columns that were there in :meth:`fit`. Better not those that were
            fitted.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, above zero where a row is likelier in the first sample. Infinite where one of
            both has no probability, and NaN where neither has a density.
        """
        check_is_fitted(self)
        check_columns(self, X)
        with np.errstate(divide="ignore", invalid="ignore"):
            if hasattr(self, "densities_"):
                # Scores of float32 end at its least number, where both densities may be.
                if np.all(getattr(X, "dtypes", getattr(X, "dtype", None)) == np.float32):
                    X = X.astype(np.float64)
                p, q = (score_samples_in_original_units(one, X) for one in self.densities_)
                return p - q
            of_second, of_first = np.log(self._probabilities(X))
            log_ratio: NDArray[np.float64] = of_first - of_second - self._log_sizes
        return log_ratio

    def _numbers(self, X: Any) -> NDArray[np.float64]:
        codes = self._coder.transform(X)
        return self._coder.filled(codes) if self._is_default else codes

    def _probabilities(self, X: Any) -> NDArray[np.float64]:
        rows = self._numbers(X)
        probabilities = np.asarray(self.classifier_.predict_proba(rows), dtype=np.float64)
        if probabilities.shape != (len(rows), 2):
            raise TypeError(
                f"estimator must give the probabilities of 2 classes, got {self.estimator!r}, "
                f"whose predict_proba has the shape {probabilities.shape} for {len(rows)} rows."
            )
        return probabilities.T

    def _fit_classifier(self, X: Any, Y: Any, rng: np.random.RandomState) -> None:
        self._coder, self._is_default = CategoryCoder().fit(X, Y), self.estimator is None
        check_columns(self, X, fitting=True)
        samples = [self._numbers(Z) for Z in (X, Y)]
        sizes = [len(sample) for sample in samples]
        if self.estimator is not None:
            classifier = seeded_clone(self.estimator, rng)
        elif min(sizes) < _LEAST_ROWS:
            raise ValueError(
                f"X and Y must have at least {_LEAST_ROWS} rows each, got {sizes[0]} in X and "
                f"{sizes[1]} in Y. Pass an estimator that does with fewer."
            )
        else:
            classifier = HistGradientBoostingClassifier(
                max_iter=500,
                max_leaf_nodes=4,
                early_stopping=True,
                validation_fraction=0.2,
                categorical_features=self._coder.is_category_,
                random_state=rng.randint(np.iinfo(np.int32).max),
            )
        is_first = np.repeat([1, 0], sizes)
        self.classifier_ = classifier.fit(np.concatenate(samples), is_first)
        self._log_sizes = np.log(sizes[0]) - np.log(sizes[1])
