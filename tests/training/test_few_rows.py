"""Fits of few rows by their plans: taken up from a state, and interrupted, in each stage."""

import io
from itertools import count

import numpy as np
import pytest
import torch

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.training.checkpoint import Checkpoint
from skflow.training.fits import run

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture(autouse=True)
def _all_fits_have_epochs(monkeypatch):
    """Let weights be kept that are hardly better than where they start."""
    monkeypatch.setattr("skflow.training.plan._STANDARD_ERRORS_BEHIND_MIXTURE", 0.0)
    monkeypatch.setattr("skflow.training.plan.STANDARD_ERRORS", 0.0)
    monkeypatch.setattr("skflow.training.conditional.STANDARD_ERRORS", 0.0)
    with torch.no_grad():
        yield


def clusters():
    """Return a plan of three candidates, the last of which starts without a mixture."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)) + 6 * rng.integers(2, size=(200, 1))
    flow = RelativeGradientFlow(n_layers=2, max_iter=2, batch_size=45, random_state=0)
    plan = flow._plan(flow._rows(X, None), Checkpoint(None))
    assert len(plan.input_noises) == 3
    assert plan.has_plain_candidate
    return plan


def one_mixture():
    """Return a plan of two candidates that both start from the same mixture."""
    X = np.random.default_rng(0).gamma(1.0, size=(200, 2))
    flow = RelativeGradientFlow(n_layers=2, max_iter=2, batch_size=45, random_state=0)
    return flow._plan(flow._rows(X, None), Checkpoint(None))


def conditional(n_targets):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    Y = np.sin(3 * X[:, :1]) + 0.1 * rng.normal(size=(200, n_targets))
    flow = ConditionalFlow(n_trees=0, max_iter=2, batch_size=45, random_state=0)
    return flow._plan(flow._checked(X, Y, None), Checkpoint(None))


PLANS = {
    "clusters": clusters,
    "one mixture": one_mixture,
    "one target": lambda: conditional(1),
    "two targets": lambda: conditional(2),
}


def advanced(name, n_epochs):
    """Return a plan and its fit after so many epochs."""
    plan = PLANS[name]()
    fit = plan.fit(0.0)
    for _ in range(n_epochs):
        if fit.is_done:
            return None
        fit.advance()
    return plan, fit


def taken_up(name, state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    plan = PLANS[name]()
    fit = plan.fit(0.0)
    fit.load_state_dict(torch.load(file, weights_only=True))
    return plan, fit


def left_by(plan, fit):
    """Run a fit, and return its record and all that its flow is made of."""
    history = run(fit)
    core = plan.calibrated(fit.flow) if hasattr(plan, "calibrated") else fit.flow
    return history, core.behind(plan.front).state_dict()


def assert_same(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for found, expected in zip(one[1].values(), other[1].values(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", PLANS)
def test_a_fit_goes_on_from_its_state_in_each_stage(name):
    stages = set()
    for n_epochs in count(1):
        begun = advanced(name, n_epochs)
        if begun is None:
            break
        parts = getattr(begun[1], "fits", [begun[1]])
        stages.add(max(len(part.histories) for part in parts))
        state = begun[1].state_dict()
        again = taken_up(name, state)
        if n_epochs % 3 == 0:
            begun[1].interrupt()
            again[1].interrupt()
        assert_same(left_by(*again), left_by(*begun))
    assert len(stages) > 1  # candidates, and all rows


def test_what_is_left_is_a_candidate_and_what_stands_before_it():
    plan, fit = advanced("clusters", 7)  # all rows are fitted
    best = fit.best
    fit.interrupt()
    history, found = left_by(plan, fit)
    assert history.interrupted

    again, candidates = PLANS["clusters"](), []
    other = again.fit(0.0)
    while len(candidates) <= best:
        other.advance()
        if len(other.histories) == len(candidates) and other.current.has_ended:
            other.current.finish()
            candidates.append(other.current.flow.behind(again.front).state_dict())
    for value, expected in zip(found.values(), candidates[best].values(), strict=True):
        assert torch.equal(value, expected)
