"""A mixture that a flow of more columns starts from, where flows do not surpass it."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from skflow import RelativeGradientFlow
from skflow.flow import NormalMixtureMap
from skflow.training.checkpoint import Checkpoint
from skflow.training.fits import run
from skflow.training.rival import FitWithRival
from skflow.training.scores import winsorized


@pytest.fixture(scope="module")
def clusters():
    """Return rows of twelve clusters, which are a mixture, and others that are held out."""
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(12, 5))
    X = centres[rng.integers(12, size=4200)] + rng.normal(size=(4200, 5))
    return X[:2100], X[2100:]


@pytest.fixture(scope="module")
def sources():
    """Return rows of mixed sources with sharp peaks, and others that are held out."""
    rng = np.random.default_rng(0)
    X = rng.laplace(size=(4200, 6)) ** 3 @ rng.normal(size=(6, 6))
    return X[:2100], X[2100:]


@pytest.fixture
def quick_rival(monkeypatch):
    """Let mixtures have 16 components, fitted once, which is enough for the clusters."""
    monkeypatch.setattr("skflow.training.stacking._sizes", lambda *_: iter((16,)))
    monkeypatch.setattr("skflow.training.stacking._N_FITS_OF_FEW", 1)


def has_mixture(flow):
    return any(isinstance(part, NormalMixtureMap) for part in flow.flow_.modules())


def test_a_mixture_is_what_is_left_where_it_is_better(clusters):
    X, held_out = clusters
    flow = RelativeGradientFlow(max_iter=15, random_state=0).fit(X)
    assert has_mixture(flow)
    assert (
        flow.score(held_out)
        > GaussianMixture(12, n_init=3, random_state=0).fit(X).score(held_out) - 0.2
    )
    np.testing.assert_allclose(flow.inverse_transform(flow.transform(X[:50])), X[:50], atol=1e-6)


def test_a_flow_is_what_is_left_where_it_is_better(sources):
    X, held_out = sources
    flow = RelativeGradientFlow(random_state=0, max_iter=30).fit(X)
    assert not has_mixture(flow)
    assert flow.score(held_out) > GaussianMixture().fit(X).score(held_out) + 2


@pytest.mark.parametrize(
    "parameters",
    [{"early_stopping": False}, {"base_distribution": "logistic"}, {"activation": "leaky_tanh"}],
)
def test_only_default_flows_with_held_out_rows_have_a_rival(clusters, parameters):
    flow = RelativeGradientFlow(max_iter=1, random_state=0, **parameters).fit(clusters[0])
    assert not has_mixture(flow)


def begun(X):
    """Begin a fit with a rival, the same at each call."""
    flow = RelativeGradientFlow(max_iter=6, random_state=0)
    plan = flow._plan(flow._rows(X, None), Checkpoint(None))
    fit = plan.fit(0.0)
    assert isinstance(fit, FitWithRival)
    return plan, fit


@pytest.mark.usefixtures("quick_rival")
@pytest.mark.parametrize("n_epochs", [2, 6, 8])
def test_a_fit_with_a_rival_goes_on_from_its_state(clusters, n_epochs):
    X = clusters[0]
    (plan, fit), (other_plan, resumed) = begun(X), begun(X)
    reports = [fit.advance() for _ in range(n_epochs)]
    assert reports[-1].fit == (1 if n_epochs <= 6 else 2)
    resumed.load_state_dict(fit.state_dict())
    assert run(resumed) == run(fit)
    rows = torch.from_numpy(X[:20])
    one, other = fit.flow.behind(plan.front), resumed.flow.behind(other_plan.front)
    assert torch.equal(one.log_prob(rows), other.log_prob(rows))


@pytest.mark.usefixtures("quick_rival")
def test_a_rival_may_be_interrupted_too(clusters):
    plan, fit = begun(clusters[0])
    history = run(fit, lambda epoch: epoch.fit == 2 and epoch.epoch == 2)
    assert history.interrupted
    assert history.n_epochs == 2
    assert history.choice_score >= history.initial_score - 1
    rows = torch.from_numpy(clusters[0][:20])
    assert fit.flow.behind(plan.front).log_prob(rows).isfinite().all()


def test_a_fit_short_of_time_has_no_rival(clusters):
    flow = RelativeGradientFlow(max_iter=10_000, max_time=0.5, random_state=0)
    assert not has_mixture(flow.fit(clusters[0]))


def test_candidates_are_compared_by_the_weights_of_rows(rng, monkeypatch, quick_mixtures):
    X, weights = rng.normal(size=(400, 5)), np.ones(400)
    weights[::2] = 100.0
    flow = RelativeGradientFlow(random_state=0, max_iter=1)
    plan = flow._plan(flow._rows(X, weights), Checkpoint(None))
    heavy = plan.validation.take_weights() == 100.0
    assert 0 < heavy.sum() < len(heavy)
    one = torch.zeros(len(heavy), dtype=torch.float64)
    other = torch.where(heavy, 1.0, -50.0).double()  # likelier in the weighted mean alone
    assert other.mean() < 0
    seen = []

    def log_probs(flow, rows):
        if flow not in seen:
            seen.append(flow)
        return (one, other, one)[seen.index(flow)]

    for module in ("fits", "plan"):
        monkeypatch.setattr(f"skflow.training.{module}.log_probs", log_probs)
    plan.has_plain_candidate, plan.input_noises = True, (0.1, 0.2, 0.1)
    fit = plan.fit(0.0)
    while len(fit.histories) < 2:
        fit.advance()
    assert fit.best == 1
    # The flow without the mixture is compared with what the better one says of each row.
    assert torch.equal(fit.current.reference, winsorized(other))
