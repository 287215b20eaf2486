"""Parameters of activations and base distributions, for searches and clones."""

import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skflow import RelativeGradientFlow
from skflow.flow import (
    AdaptedDistribution,
    LeakyTanh,
    Normal,
    NormalMixture,
    SmoothLeakyReLU,
    StudentT,
)


class Wrapped(Normal):
    """Has a parameter with parameters of its own."""

    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner


class Private(Normal):
    """Does not keep what it is made of under its name."""

    def __init__(self, scale):
        super().__init__()
        self._scale = scale


INSTANCES = {
    "normal": Normal,
    "student_t": StudentT,
    "mixture": lambda: NormalMixture(4),
    "adapted": lambda: AdaptedDistribution(torch.distributions.Laplace(0.0, 1.0)),
    "nested": lambda: Wrapped(NormalMixture(3)),
    "private": lambda: Private(2.0),
    "leaky_tanh": lambda: LeakyTanh(2.0, 0.3),
    "smooth_leaky_relu": lambda: SmoothLeakyReLU(0.2),
}


@pytest.mark.parametrize("name", INSTANCES)
def test_a_clone_is_another_object_of_equal_parameters(name):
    instance = INSTANCES[name]()
    twin = clone(instance)
    assert twin is not instance
    assert type(twin) is type(instance)
    assert repr(twin) == repr(instance)
    assert twin.get_params().keys() == instance.get_params().keys()


@pytest.mark.parametrize("learned", [StudentT, lambda: NormalMixture(4)])
def test_a_clone_has_learned_nothing(learned):
    instance = learned()
    instance.allocate(2)
    twin = clone(instance)
    assert not list(twin.parameters())
    twin.allocate(3)


def test_parameters_are_read_and_set_by_name():
    outer = Wrapped(NormalMixture(3))
    assert outer.get_params()["inner__n_components"] == 3
    assert "inner__n_components" not in outer.get_params(deep=False)
    assert outer.set_params(inner__n_components=5) is outer
    assert outer.inner.n_components == 5
    assert outer.set_params(inner=NormalMixture(2), inner__n_components=6).inner.n_components == 6
    assert StudentT().get_params() == {}
    assert Private(2.0).get_params() == {}


def test_new_parameters_start_anew():
    mixture = NormalMixture(2)
    mixture.allocate(3)
    mixture.set_params(n_components=4).allocate(2)
    assert mixture.means.shape == (4, 2)
    activation = LeakyTanh().set_params(alpha=2.0, beta=0.4)
    x = torch.linspace(-3, 3, 7).unsqueeze(0)
    assert torch.equal(activation(x), LeakyTanh(2.0, 0.4)(x))


@pytest.mark.parametrize(
    ("instance", "params", "message"),
    [
        (NormalMixture(2), {"n_component": 3}, "NormalMixture has no parameter 'n_component'"),
        (NormalMixture(2), {"n_component__x": 3}, "It has: n_components"),
        (StudentT(), {"df": 3}, "StudentT has no parameter 'df'. It has: none"),
        (LeakyTanh(), {"beta": -1.0}, "beta must be positive"),
    ],
)
def test_what_cannot_be_set_changes_nothing(instance, params, message):
    before = instance.get_params()
    with pytest.raises(ValueError, match=message):
        instance.set_params(**params)
    assert instance.get_params() == before


@pytest.mark.parametrize(
    ("parameter", "instance", "values"),
    [
        ("base_distribution__n_components", NormalMixture(4), [1, 2]),
        ("activation__alpha", SmoothLeakyReLU(), [0.2, 0.5]),
    ],
)
def test_parameters_of_parameters_are_searched(rng, parameter, instance, values):
    name, _, inner = parameter.partition("__")
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0, **{name: instance})
    search = GridSearchCV(flow, {parameter: values}, cv=2, error_score="raise")
    search.fit(rng.normal(size=(40, 2)))
    assert list(search.cv_results_[f"param_{parameter}"]) == values
    best = getattr(search.best_estimator_, name)
    assert getattr(best, inner) == search.best_params_[parameter]
    fitted = {repr(module) for module in search.best_estimator_.flow_.modules()}
    assert name != "base_distribution" or repr(best) in fitted
    assert getattr(instance, inner) not in values  # what was passed stays what it was


def test_a_clone_of_an_estimator_has_its_own_base_distribution():
    flow = RelativeGradientFlow(base_distribution=NormalMixture(4))
    twin = clone(flow)
    assert twin.base_distribution is not flow.base_distribution
    twin.set_params(base_distribution__n_components=2)
    assert flow.base_distribution.n_components == 4
