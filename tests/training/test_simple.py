"""The mixture that few rows start from, behind splines where margins matter more than parts."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skflow import RelativeGradientFlow
from skflow.datasets import gaussian_grid, rings
from skflow.flow import NormalMixtureMap
from skflow.flow.initialization import shrunk_whitening
from skflow.training.rows import Rows
from skflow.training.simple import simple_start


def start(X, **kwargs):
    rows = Rows(torch.from_numpy((X - X.mean(0)) / X.std(0)))
    generator = torch.Generator().manual_seed(0)
    n = len(X) // 10
    return simple_start(
        rows.subset(slice(n, None)), rows.subset(slice(n)), generator, n_bins=8, **kwargs
    )


@pytest.fixture
def steep(rng):
    """Return rows whose columns end where they are most likely."""
    return rng.exponential(size=(600, 2)) ** 2 - 1


def test_splines_stand_before_the_mixture_where_margins_matter_more(steep):
    assert start(steep).is_bent
    assert not start(gaussian_grid().sample(600, random_state=0)).is_bent


@pytest.mark.parametrize("is_bent", [True, False])
def test_a_refit_is_of_the_kind_that_it_is_told(steep, is_bent):
    simple = start(steep, is_bent=is_bent)
    assert simple.is_bent == is_bent
    assert isinstance(simple.bijection, NormalMixtureMap) != is_bent


@pytest.mark.parametrize("n_rows", [2, 3, 8, 19])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_very_few_rows_start_from_the_gaussian(rng, n_rows, early_stopping):
    X = rng.exponential(size=(n_rows, 3))
    flow = RelativeGradientFlow(
        learning_rate=1e-9, max_iter=1, early_stopping=early_stopping, random_state=0
    ).fit(X)
    whitening, log_det = shrunk_whitening(torch.from_numpy((X - X.mean(0)) / X.std(0)))
    z = (X - X.mean(0)) / X.std(0) @ whitening.numpy()
    expected = norm.logpdf(z).sum(1) + float(log_det) - np.log(X.std(0)).sum()
    np.testing.assert_allclose(flow.score_samples(X), expected, rtol=1e-3, atol=1e-3)


def test_no_weights_are_kept_because_of_one_or_two_rows(rng):
    for n_rows in (6, 15):  # one and two of them are held out
        flow = RelativeGradientFlow(max_iter=5, random_state=0).fit(rng.normal(size=(n_rows, 2)))
        assert not flow.loss_curve_


def test_a_flow_without_the_mixture_is_compared_where_splines_stand_before_it(steep):
    fits = [
        RelativeGradientFlow(max_iter=2, random_state=0).fit(X)
        for X in (steep, gaussian_grid().sample(600, random_state=0))
    ]
    assert [len(fit.candidates_) for fit in fits] == [3, 2]


def test_few_rows_in_the_plane_never_start_without_a_mixture():
    # As likely as not, splines come before the mixture here. Without any mixture, the fit ends
    # 0.8 nats below the density.
    density = rings()
    X = density.sample(500, random_state=11)
    held_out = density.sample(5000, random_state=1011)
    for seed in range(3):
        flow = RelativeGradientFlow(max_iter=2, random_state=seed).fit(X)
        assert flow.score(held_out) > density.score(held_out) - 0.5
