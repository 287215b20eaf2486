"""Default fits to rows that nobody cleaned."""

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from skflow import RelativeGradientFlow
from skflow.exceptions import ColumnWarning


def draws(make):
    """Return rows to fit and rows to score."""
    return (make(np.random.default_rng(seed)) for seed in range(2))


@pytest.mark.parametrize("outlier", [1e3, 1e5, 1e6])
@pytest.mark.parametrize("random_state", [0, 1])  # held out or not
def test_one_row_far_out_costs_nothing(outlier, random_state):
    X, X_test = draws(lambda rng: rng.normal(size=(1000, 1)))
    X[0] = outlier
    flow = RelativeGradientFlow(max_iter=20, random_state=random_state)
    with pytest.warns(ColumnWarning, match="a few extreme values"):
        flow.fit(X)
    truth = stats.norm.logpdf(X_test).mean()
    assert flow.score(X_test) == pytest.approx(truth, abs=0.05)
    # As many rows are drawn far out as there were.
    assert (np.abs(flow.sample(4000, random_state=0)) > 6).mean() < 0.005


def test_one_entry_far_out_of_three_columns():
    X, X_test = draws(lambda rng: rng.normal(size=(1000, 3)))
    X[7, 1] = 1e4
    flow = RelativeGradientFlow(max_iter=20, random_state=0)
    with pytest.warns(ColumnWarning, match=r"column 1 \(1e\+04\)"):
        flow.fit(X)
    truth = stats.norm.logpdf(X_test).sum(1).mean()
    assert flow.score(X_test) == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 4.0])
def test_lognormal_columns(sigma):
    X, X_test = draws(lambda rng: np.exp(sigma * rng.normal(size=(1000, 3))))
    flow = RelativeGradientFlow(max_iter=5, random_state=0).fit(X)
    truth = stats.lognorm(sigma).logpdf(X_test).sum(1).mean()
    assert flow.score(X_test) == pytest.approx(truth, abs=0.1)
    # Where the tail is shorter, a column may do without its logarithm.
    most_negative = 0.001 if sigma >= 3 else 0.005
    assert (flow.sample(4000, random_state=0) < 0).mean() < most_negative


def test_a_row_unlike_any_before_does_not_decide_a_mean(rng):
    X = rng.normal(size=(1000, 5))
    flow = RelativeGradientFlow(max_iter=5, random_state=0).fit(X)
    far = flow.score_samples(np.full((1, 5), 1e4))
    assert -1000 < float(far[0]) < -100


def test_the_plane_is_no_worse_than_a_mixture():
    def rings(rng):
        radius, angle = rng.integers(1, 4, 2000), rng.uniform(0, 2 * np.pi, 2000)
        circles = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
        return circles + 0.08 * rng.normal(size=(2000, 2))

    X, X_test = draws(rings)
    mixtures = [GaussianMixture(k, random_state=0).fit(X) for k in (10, 20, 30)]
    best = min(mixtures, key=lambda mixture: mixture.bic(X)).score(X_test)
    flow = RelativeGradientFlow(max_iter=10, random_state=0).fit(X)
    assert flow.score(X_test) > best - 0.01
    # Latents are normal, and what they stand for are the rows.
    z = flow.transform(X_test)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.1)
    np.testing.assert_allclose(flow.inverse_transform(z[:200]), X_test[:200], atol=1e-6)
