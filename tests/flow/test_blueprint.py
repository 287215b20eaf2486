import json

import pytest
import torch

from skflow import RelativeGradientFlow
from skflow.flow import (
    Bijection,
    BlockDiagonal,
    Blueprint,
    ElementwiseSpline,
    Flow,
    LeakyTanh,
    LinearStack,
    Normal,
    NormalMixture,
    SmoothLeakyReLU,
    StudentT,
)


class Shift(Bijection):
    """A bijection of a user's own."""

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward_and_log_det(self, x):
        return x + self.amount, x.new_zeros(x.shape[0])

    def inverse_and_log_det(self, y):
        return y - self.amount, y.new_zeros(y.shape[0])


FITS = {
    "default of few rows": {},
    "splines": {"coupling": "spline", "n_layers": 2},
    "fixed activation": {"activation": SmoothLeakyReLU(alpha=0.2)},
    "mixture": {"base_distribution": NormalMixture(3), "activation": "leaky_tanh"},
    "heavy tails in float64": {"base_distribution": "student_t", "dtype": "float64"},
}


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("parameters", FITS.values(), ids=FITS)
def test_a_flow_is_its_blueprint_and_its_state(parameters, rng):
    X = rng.normal(size=(200, 3))
    flow = RelativeGradientFlow(max_iter=1, random_state=0, **parameters).fit(X).flow_
    blueprint = Blueprint.of(flow)
    built = Blueprint.from_json(blueprint.to_json()).build()
    assert Blueprint.of(built) == blueprint
    assert repr(built) == repr(flow)
    built.load_state_dict(flow.state_dict())
    x = torch.from_numpy(X)
    with torch.no_grad():
        assert torch.equal(built.log_prob(x), flow.log_prob(x))


def test_every_kind_of_bijection_is_built_again():
    flow = Flow(
        [
            ElementwiseSpline(4, n_bins=4, init="quantiles"),
            BlockDiagonal(4, n_groups=2, dtype=torch.float64),
            LinearStack(2, 4, activation=LeakyTanh(beta=0.3), bias=False, init="orthogonal"),
        ],
        Normal(),
        n_features=4,
    )
    blueprint = Blueprint.of(flow)
    twin = blueprint.build()
    assert repr(twin) == repr(flow)
    assert blueprint.differences(Blueprint.of(twin)) == []
    assert twin.bijections[0].init == "quantiles"
    assert twin.bijections[1].weight.dtype == torch.float64
    assert json.loads(blueprint.to_json())["bijections"][2]["arguments"]["activation"] == {
        "class": "LeakyTanh",
        "arguments": {"alpha": 1.0, "beta": 0.3},
    }


def test_differences_name_the_parts():
    one, other = (
        Blueprint.of(Flow(bijections, base, n_features=2))
        for bijections, base in (
            ([LinearStack(1, 2), LeakyTanh()], Normal()),
            ([LinearStack(1, 2, dtype=torch.float64)], StudentT()),
        )
    )
    first, second, base = one.differences(other)
    assert first.startswith("bijections[0]: LinearStack(")
    assert first.count("dtype=float32") == first.count("dtype=float64") == 1
    assert second == "bijections[1]: LeakyTanh(alpha=1.0, beta=0.1) instead of nothing"
    assert base.startswith("base: Normal() instead of StudentT(")


def test_classes_of_a_user_are_passed_and_never_imported():
    flow = Flow([Shift(1.5)], Normal(), n_features=2)
    blueprint = Blueprint.of(flow)
    (part,) = blueprint.bijections
    assert part["class"].endswith(".Shift")
    with pytest.raises(ValueError, match=r"Shift is none of skflow's own classes. Pass it as"):
        blueprint.build()
    built = blueprint.build({part["class"]: Shift})
    assert built.bijections[0].amount == 1.5


def test_what_is_no_plain_data_is_compared_and_not_built():
    def flow(scale):
        return Flow([], torch.distributions.Laplace(0.0, scale), n_features=2)

    one, same, other = (Blueprint.of(flow(scale)) for scale in (1.0, 1.0, 2.0))
    assert one == same
    assert one != other
    with pytest.raises(ValueError, match=r"AdaptedDistribution .* argument Laplace\(loc: 0"):
        one.build()


@pytest.mark.usefixtures("quick_mixtures")
def test_a_warm_start_says_what_differs(rng):
    X = rng.normal(size=(100, 2))
    flow = RelativeGradientFlow(2, max_iter=1, random_state=0, warm_start=True).fit(X)
    before = flow.score(X)
    flow.set_params(base_distribution="logistic", coupling=None)
    with pytest.raises(ValueError, match=r"for\nbijections\[2\]: .* instead of SplineCoupling"):
        flow.fit(X)
    with pytest.raises(ValueError, match=r"base: Logistic\(\) instead of Normal\(\)"):
        flow.fit(X)
    assert flow.score(X) == before
    flow.set_params(base_distribution="normal", coupling="auto").fit(X)
    assert flow.n_samples_seen_ == 200
