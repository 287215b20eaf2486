"""Several targets, one after the other."""

import io
from copy import deepcopy

import numpy as np
import pytest
import torch

from skflow import ConditionalFlow
from skflow.training.chain import ChainPlan, conditional_plan
from skflow.training.conditional import ConditionalPlan
from skflow.training.fits import run
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

N_CONTEXT, N_TARGETS = 2, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(300, N_CONTEXT))
    first = 3 + c[:, :1] + 0.5 * rng.normal(size=(300, 1))
    second = first**2 + 0.1 * rng.normal(size=(300, 1))
    third = np.sin(second) + 0.2 * (1 + np.abs(c[:, 1:])) * rng.normal(size=(300, 1))
    return torch.from_numpy(np.hstack([c, first, second, third]))


def begun(data, **parameters):
    """Return a plan and its fit, the same at each call."""
    chosen = {"dtype": "float64", "max_iter": 4, "random_state": 0} | parameters
    parameters = ConditionalFlow(**chosen).get_params()
    y = data[:, N_CONTEXT:]
    plan = ChainPlan(
        parameters,
        Rows(data),
        standardization(Rows(y), robust=True),
        constant=torch.zeros(0, dtype=torch.long),
        generator=torch.Generator().manual_seed(3),
    )
    return plan, plan.fit(0.0)


@torch.no_grad()
def test_the_density_is_the_product_of_those_of_one_target_each(data):
    plan, fit = begun(data)
    run(fit)
    found = fit.flow.behind(plan.front).log_prob(data)
    standard = plan.front(data)
    expected = torch.zeros(len(data), dtype=torch.float64)
    for k, (link, one) in enumerate(zip(plan._links, fit.fits, strict=True)):
        n = N_CONTEXT + k
        rows = torch.cat([standard[:, :n], data[:, n : n + 1]], 1)
        expected += one.flow.behind(link.front).log_prob(rows)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_latents_go_back_to_the_targets(data):
    plan, fit = begun(data)
    run(fit)
    bound = plan.calibrated(fit.flow).behind(plan.front).given(data[:, :N_CONTEXT])
    z = bound.forward(data[:, N_CONTEXT:])
    torch.testing.assert_close(bound.inverse(z), data[:, N_CONTEXT:], atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_goes_on_from_its_state_bit_for_bit(data, early_stopping):
    (_, fit), (_, resumed) = (begun(data, early_stopping=early_stopping) for _ in range(2))
    for _ in range(2):
        fit.advance()
    file = io.BytesIO()
    torch.save(fit.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    first, second = run(fit), run(resumed)
    assert first == second
    for found, expected in zip(
        resumed.flow.state_dict().values(), fit.flow.state_dict().values(), strict=True
    ):
        assert torch.equal(found, expected)


def test_what_a_fit_would_leave_is_a_copy(data):
    _, fit = begun(data, early_stopping=False)
    fit.advance()
    before = deepcopy(fit.flow.state_dict())
    copy = deepcopy(fit.flow)
    history = fit.finish(copy)
    assert len(history.losses) == 1
    fit.advance()
    for name, tensor in copy.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert any(not torch.equal(fit.flow.state_dict()[name], before[name]) for name in before)


def test_the_record_is_the_sum_of_those_of_the_targets(data):
    _, fit = begun(data)
    reports = []
    history = run(fit, reports.append)
    each = [one.finish() for one in fit.fits]
    assert history.best_score == pytest.approx(sum(one.best_score for one in each))
    assert [report.epoch for report in reports] == [*range(1, len(reports) + 1)]
    first_fits = [report for report in reports if report.fit == 1]
    assert [report.progress >= 1 for report in first_fits] == [False] * 3 + [True]
    assert history.n_epochs == max(one.n_epochs for one in each)


@pytest.mark.parametrize(
    ("n_targets", "kind"), [(1, ConditionalPlan), (2, ChainPlan), (9, ConditionalPlan)]
)
def test_few_targets_are_a_chain(rng, n_targets, kind):
    rows = Rows(torch.from_numpy(rng.normal(size=(40, N_CONTEXT + n_targets))))
    plan = conditional_plan(
        ConditionalFlow().get_params(),
        rows,
        standardization(Rows(rows.data[:, N_CONTEXT:]), robust=True),
        constant=torch.zeros(0, dtype=torch.long),
        generator=torch.Generator().manual_seed(3),
    )
    assert type(plan) is kind
