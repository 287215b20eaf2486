"""Whether rows come back from their latents, as a fit records it."""

import math
import warnings

import numpy as np
import pytest
import torch

from skflow import ConditionalFlow, RelativeGradientFlow, default_bijections
from skflow.exceptions import InversionError
from skflow.flow import Bijection, Flow, LinearStack, Normal, Standardize
from skflow.training.round_trip import round_trip_error
from skflow.training.rows import Rows

pytestmark = pytest.mark.usefixtures("quick_mixtures")

QUICK = {"max_iter": 2, "random_state": 0}


class Imprecise(Bijection):
    """The identity, whose inverse is not what it should be."""

    def __init__(self, back):
        super().__init__()
        self.back = back

    def forward_and_log_det(self, x):
        return x, x.new_zeros(len(x))

    def inverse_and_log_det(self, y):
        return self.back(y), y.new_zeros(len(y))


def refusing(error):
    def back(y):
        raise error

    return back


def fit(back, X):
    def bijections(n_rows, n_features, **parameters):
        return [*default_bijections(n_rows, n_features, **parameters), Imprecise(back)]

    return RelativeGradientFlow(bijections=bijections, **QUICK).fit(X)


@pytest.fixture
def X(rng):
    return rng.gamma(2.0, size=(200, 3)) @ rng.normal(size=(3, 3)) * [1e-9, 1.0, 1e9]


def test_a_fit_records_what_it_is(X):
    flow = RelativeGradientFlow(**QUICK).fit(X)
    assert 0 < flow.round_trip_error_ < 1e-10
    layers = [layer.weight[0] for layer in flow.flow_.relative_layers]
    exact = np.array([np.linalg.svd(w.detach().numpy().astype(float))[1][[0, -1]] for w in layers])
    assert len(flow.extreme_singular_values_) == flow.n_layers_
    np.testing.assert_allclose(flow.extreme_singular_values_, exact, rtol=1e-6)
    conditional = ConditionalFlow(**QUICK).fit(X[:, :1], X[:, 1:])
    assert 0 < conditional.round_trip_error_ < 1e-10


@pytest.mark.parametrize("n_targets", [0, 1])
def test_after_a_pass_over_further_rows_nothing_is_known(X, n_targets):
    estimator = ConditionalFlow(**QUICK) if n_targets else RelativeGradientFlow(**QUICK)
    data = (X[:, :2], X[:, 2]) if n_targets else (X,)
    estimator.fit(*data)
    assert hasattr(estimator, "round_trip_error_")
    estimator.partial_fit(*data)
    assert not hasattr(estimator, "round_trip_error_")
    assert not hasattr(estimator, "extreme_singular_values_")


def test_rows_that_do_not_come_back_are_told(X):
    with pytest.warns(RuntimeWarning, match=r"differ by \d.* lower learning_rate") as caught:
        flow = fit(lambda y: y * (1 + 1e-3), X)
    assert caught[0].filename == __file__
    assert 1e-6 < flow.round_trip_error_ < 1
    with pytest.warns(RuntimeWarning, match="differ by inf"):
        flow = fit(refusing(InversionError("No inverse.")), X)
    assert flow.round_trip_error_ == math.inf


def test_a_bijection_without_an_inverse_still_trains(X):
    assert fit(refusing(NotImplementedError()), X).round_trip_error_ is None


def of_weight(weight):
    layer = LinearStack(1, len(weight), dtype=torch.float64)
    layer.weight.data[0] = weight
    standardize = Standardize(torch.zeros(len(weight)), torch.ones(len(weight)))
    return Flow([standardize, layer], Normal(), n_features=len(weight))


def test_the_error_grows_with_the_condition_number(generator):
    turned = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    rows = Rows(torch.randn(100, 5, generator=generator, dtype=torch.float64))
    errors = []
    for least in (1.0, 1e-4, 1e-8, 1e-12):
        scales = torch.logspace(math.log10(least), 0, 5, dtype=torch.float64)
        errors.append(round_trip_error(of_weight((turned * scales) @ turned.mT), rows))
        assert errors[-1] < 1e-12 / least
    assert errors[0] < 1e-13
    assert errors[-1] > 1e-8


def test_the_error_does_not_depend_on_units(generator):
    rows = torch.randn(100, 2, generator=generator, dtype=torch.float64)
    for unit in (1e-150, 1.0, 1e150):
        scale = torch.tensor([1.0, unit], dtype=torch.float64)
        flow = Flow(
            [Standardize(0 * scale, scale), Imprecise(lambda y: y + 1e-3)], Normal(), n_features=2
        )
        error = round_trip_error(flow, Rows(rows * scale))
        assert error == pytest.approx(1e-3 / float(rows[:64].std(0, correction=0).min()), rel=0.5)


def test_beyond_many_columns_nothing_is_factorised(monkeypatch):
    monkeypatch.setattr("skflow.training.round_trip.MOST_FACTORISED", 2)
    rows = Rows(torch.zeros(4, 3, dtype=torch.float64))
    assert round_trip_error(of_weight(torch.eye(3, dtype=torch.float64)), rows) is None


def test_constant_columns_have_an_error(rng):
    X = rng.normal(size=(100, 2)) * [1, 0] + [0, 5]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = RelativeGradientFlow(**QUICK).fit(X)
    assert 0 < flow.round_trip_error_ < 1e-10
