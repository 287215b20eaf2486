import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import settings
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_array

from skflow.flow import LinearStack

# The same examples in each run; a fit has no deadline.
settings.register_profile(
    "skflow", derandomize=True, deadline=None, max_examples=15, database=None
)
settings.load_profile("skflow")


@pytest.fixture
def global_random_seed():
    """The seed of a test that must hold for any; SKFLOW_TESTS_SEED chooses another."""
    return int(os.environ.get("SKFLOW_TESTS_SEED", "0"))


@pytest.fixture
def generator(global_random_seed):
    return torch.Generator().manual_seed(global_random_seed)


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


@pytest.fixture
def ctrl_c_raises():
    """Python's own handler of Ctrl-C, which a process in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def array_api():
    """scikit-learn's ``array_api_dispatch``, turned on for a test where it works."""
    try:
        with sklearn.config_context(array_api_dispatch=True):
            check_array(np.ones((1, 1)))
    except (ImportError, RuntimeError) as error:  # what it needs is not there
        pytest.skip(str(error))
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def make_stack(generator):
    """Make a dense stack with weights that are far from special and well conditioned."""

    def make(n_layers, n_features, **kwargs):
        stack = LinearStack(n_layers, n_features, **{"dtype": torch.float64} | kwargs)
        for parameter in stack.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.add_(0.3 * noise)
        return stack

    return make


@pytest.fixture(autouse=True)
def no_cuda_without_a_gpu(monkeypatch):
    """scikit-learn's checks ask whether PyTorch was built for CUDA, not whether there is a GPU."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)


def make_mixtures_quick(patch):
    stacking, components = "skflow.training.stacking", "skflow.flow.components"
    patch.setattr(f"{stacking}._sizes", lambda *_: iter((1, 2)))
    for name, value in (("FOLDS", 2), ("FITS", 1), ("FITS_OF_FEW", 1), ("TRIALS", 1)):
        patch.setattr(f"{stacking}._N_{name}", value)
    patch.setattr(f"{components}._MOST_CLIMBS", 5)


@contextmanager
def mixtures_are_quick():
    with pytest.MonkeyPatch.context() as patch:
        make_mixtures_quick(patch)
        yield


@pytest.fixture
def quick_mixtures(request, monkeypatch):
    """Let the mixtures that fits start from have two components at most, each fitted once.

    All is done that is done otherwise, in a fraction of the time: most of a short fit is the
    search for the best mixture. It is for tests that look at something else, but for slow ones,
    and does not reach other processes.
    """
    # By the patch that the test itself may use, so that all is undone in the right order.
    if not request.node.get_closest_marker("slow"):
        make_mixtures_quick(monkeypatch)


@pytest.fixture(scope="session")
def while_mixtures_are_quick():
    """The same as a context, for fits that several tests share."""
    return mixtures_are_quick


class NormalRegression(RegressorMixin, BaseEstimator):
    """Normal distributions given x, whose spread changes along the first column.

    They are right if `spread` is 1, and too wide or too narrow by that factor otherwise.
    """

    def __init__(self, spread=1.0, n_targets=None):
        self.spread = spread
        self.n_targets = n_targets

    def fit(self, X, y, sample_weight=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def _parameters(self, X):
        x = np.asarray(X, dtype=np.float64)[:, 0]
        mean, scale = np.sin(x), self.spread * np.exp(0.5 * x)
        if self.n_targets is None:
            return mean, scale
        factor = np.arange(1, 1 + self.n_targets)
        return mean[:, None] * factor, scale[:, None] * factor

    def draw(self, X, rng):
        mean, scale = self._parameters(X)
        return mean + scale / self.spread * rng.standard_normal(np.shape(mean))

    def score_samples(self, X, y):
        log_density = norm.logpdf(y, *self._parameters(X))
        return log_density if self.n_targets is None else log_density.sum(axis=1)

    def sample(self, X, n_samples=1, random_state=None):
        mean, scale = (each[..., None] for each in self._parameters(X))
        rng = np.random.default_rng(random_state)
        return mean + scale * rng.standard_normal((*mean.shape[:-1], n_samples))

    def cdf(self, X, y):
        return norm.cdf(y, *self._parameters(X))

    def predict(self, X):
        return self._parameters(X)[0]

    def predict_quantiles(self, X, q):
        if np.ndim(q) == 0:
            return norm.ppf(q, *self._parameters(X))
        return norm.ppf(q, *(each[..., None] for each in self._parameters(X)))

    def predict_interval(self, X, coverage=0.9):
        return np.stack(norm.interval(coverage, *self._parameters(X)), axis=-1)


@pytest.fixture
def normal_regression():
    """Make a regressor whose distributions are known."""
    return NormalRegression
