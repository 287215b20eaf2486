"""Integrals of densities that are known, and of some that are none."""

import numpy as np
import pandas as pd
import pytest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import ConditionalFlow, LogarithmicPool, RelativeGradientFlow
from skflow.metrics import check_normalization
from skflow.metrics.proposals import DefensiveMixture

# Of some hundred estimates, one beyond this is a chance of 1 in 150 for all together.
MOST_ERRORS = 4


class Changed:
    """A density times a factor, and zero where the first column is above a bound."""

    def __init__(self, density, factor=1.0, bound=np.inf):
        self.density, self.factor, self.bound = density, factor, bound

    def score_samples(self, X):
        scores = self.density.score_samples(X) + np.log(self.factor)
        return np.where(X[:, 0] > self.bound, -np.inf, scores)


def table(n_columns, rng, n_rows=800):
    X = rng.normal(size=(n_rows, n_columns)) @ rng.normal(size=(n_columns, n_columns))
    X[: n_rows // 3] += 3 * X.std(0)
    return X * 10.0 ** rng.uniform(-3, 3, n_columns)


def is_one(result):
    assert result.diagnosis == ""
    return abs(result.value - 1) < MOST_ERRORS * result.standard_error


@pytest.mark.parametrize("n_columns", [1, 2, 5, 10, 20])
def test_exact_densities_add_up_to_one(n_columns, rng):
    X = table(n_columns, rng)
    densities = [GaussianMixture(k, random_state=0).fit(X) for k in (1, 2)]
    standard = make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.7)).fit(X)
    for density in densities + [standard] * (n_columns <= 5):
        result = check_normalization(density, X, random_state=0)
        assert is_one(result)
        assert result.standard_error < 0.1
        scaled = check_normalization(Changed(densities[0], 1.1), X, random_state=0)
        assert scaled.value == pytest.approx(1.1, abs=MOST_ERRORS * scaled.standard_error)


def test_the_standard_error_is_that_of_other_points(rng):
    X = table(3, rng)
    density = KernelDensity(bandwidth=X.std() / 3).fit(X / X.std(0) * X.std())
    X = X / X.std(0) * X.std()
    results = [check_normalization(density, X, n_samples=1000, random_state=s) for s in range(12)]
    errors = np.mean([result.standard_error for result in results])
    assert 0.5 < np.std([result.value for result in results]) / errors < 2


def test_what_is_no_density_is_told(rng):
    X = rng.normal(size=(800, 2))
    X[:300] += 3
    density = GaussianMixture(3, random_state=0).fit(X)
    larger = check_normalization(Changed(density, 1.1), X, random_state=0)
    assert not is_one(larger)
    assert larger.value == pytest.approx(1.1, abs=MOST_ERRORS * larger.standard_error)
    bound = np.quantile(density.sample(100_000)[0][:, 0], 0.8)
    truncated = check_normalization(Changed(density, bound=bound), X, random_state=0)
    assert not is_one(truncated)
    assert truncated.value == pytest.approx(0.8, abs=MOST_ERRORS * truncated.standard_error + 0.02)


def test_an_estimate_that_misses_most_says_so(rng):
    X = rng.normal(size=(300, 5))
    result = check_normalization(KernelDensity(bandwidth=1e-3).fit(X), X, random_state=0)
    assert result.unseen_share > 0.9
    assert "the integral is too small" in result.diagnosis
    nothing = Changed(KernelDensity().fit(X), bound=-np.inf)
    result = check_normalization(nothing, X, random_state=0)
    assert result.value == 0
    assert np.isnan(result.standard_error)
    assert result.diagnosis == "No point has any density."


def test_few_points_that_count_are_told(rng):
    X = rng.normal(size=(300, 10))
    narrow = KernelDensity(bandwidth=0.25).fit(X)
    result = check_normalization(narrow, X, n_samples=1000, random_state=0)
    assert result.effective_sample_size < 100
    assert "Raise n_samples" in result.diagnosis


@pytest.mark.usefixtures("quick_mixtures")
def test_flows(rng):
    X = rng.gamma(2.0, size=(400, 3)) @ rng.normal(size=(3, 3))
    flow = RelativeGradientFlow(max_iter=5, random_state=0).fit(X)
    assert is_one(check_normalization(flow, X, random_state=0))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    of_frame = RelativeGradientFlow(max_iter=5, random_state=0).fit(frame)
    assert is_one(check_normalization(of_frame, frame, random_state=0))
    pool = LogarithmicPool(flow).fit(X)
    result = check_normalization(pool, X, random_state=0)
    assert result.value + MOST_ERRORS * result.standard_error < 1  # as it says


def test_conditional_densities(rng, normal_regression, quick_mixtures):
    X = rng.normal(size=(400, 2))
    for n_targets in (None, 2):
        model = normal_regression(n_targets=n_targets).fit(X, None)
        y = model.draw(X, rng)
        assert is_one(check_normalization(model, X, y, random_state=0))
    frame = pd.DataFrame(X, columns=["a", "b"])
    flow = ConditionalFlow(max_iter=5, random_state=0).fit(frame, y)
    assert is_one(check_normalization(flow, frame, y, random_state=0))


def test_input(rng):
    X = rng.normal(size=(50, 2))
    density = KernelDensity().fit(X)
    with pytest.raises(ValueError, match="neither NaN nor"):
        check_normalization(Changed(density, np.nan), X)
    with pytest.raises(ValueError, match="n_samples"):
        check_normalization(density, X, n_samples=1)
    with pytest.raises(ValueError, match="minimum of 2"):
        check_normalization(density, X[:1])
    with pytest.raises(TypeError):
        check_normalization(StandardScaler().fit(X), X)


def test_the_mixture_draws_by_its_own_density(rng):
    """Of rows that it draws, as many lie in a box as its density says."""
    X = table(2, rng)
    proposal = DefensiveMixture().fit(X, np.random.RandomState(0))
    draws = proposal.sample(20_000, np.random.RandomState(1))
    low, high = np.quantile(X, [0.2, 0.7], axis=0)
    grid = rng.uniform(low, high, size=(20_000, 2))
    values = np.exp(proposal.log_density(grid)) * np.prod(high - low)
    share = ((draws > low) & (draws < high)).all(1).mean()
    assert values.mean() == pytest.approx(share, abs=0.02)
