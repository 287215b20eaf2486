"""Pickles of flows: the same bytes for the same content, and all of it comes back."""

import copy
import io
import pickle

import joblib
import pytest
import torch
from torch import nn

from skflow import RelativeGradientFlow
from skflow.flow import (
    AdaptedDistribution,
    AffineCoupling,
    Bijection,
    ElementwiseSpline,
    Flow,
    LeakyTanh,
    LinearStack,
    Normal,
    NormalMixture,
    SplineCoupling,
    Standardize,
    StudentT,
)

BASES = {
    "normal": Normal,
    "student_t": StudentT,
    "mixture": lambda: NormalMixture(2),
    "laplace": lambda: AdaptedDistribution(torch.distributions.Laplace(0.0, 1.0)),
}


@pytest.fixture
def x(generator):
    return torch.randn(30, 3, generator=generator)


@pytest.fixture(params=BASES)
def flow(request, generator, x):
    bijections = [
        Standardize(torch.zeros(3), torch.ones(3)),
        ElementwiseSpline(3, n_bins=4, init="quantiles"),
        LinearStack(2, 3, activation=LeakyTanh()),
        AffineCoupling(3, n_hidden=4),
        SplineCoupling(3, n_hidden=4, n_bins=4, dtype=torch.float64),
    ]
    flow = Flow(bijections, BASES[request.param](), n_features=3)
    flow.initialize(x, generator)
    return flow


def round_trip(obj):
    return pickle.loads(pickle.dumps(obj))


def test_pickles_and_hashes_depend_on_the_content_alone(flow, x):
    with torch.no_grad():
        flow.log_prob(x)
    pickled, hashed = pickle.dumps(flow), joblib.hash(flow)
    flow.inverse(flow(x))  # fills what is kept between calls
    for twin in (flow, round_trip(flow), round_trip(round_trip(flow)), copy.deepcopy(flow)):
        assert pickle.dumps(twin) == pickled
        assert joblib.hash(twin) == hashed
    next(flow.parameters()).data[..., 0] += 1
    assert pickle.dumps(flow) != pickled
    assert joblib.hash(flow) != hashed


def test_an_estimator_is_hashed_by_its_content(rng):
    X = rng.normal(size=(40, 2))
    flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(X)
    hashed = joblib.hash(flow)
    flow.score_samples(X)
    flow.sample(3)
    assert joblib.hash(flow) == hashed
    assert joblib.hash(round_trip(flow)) == hashed
    flow.partial_fit(X)
    further = joblib.hash(flow)
    assert further != hashed
    assert joblib.hash(round_trip(flow)) == further
    assert joblib.hash(flow.fit(X[::-1])) != hashed


class Tied(Bijection):
    """Has all that a module can have."""

    def __init__(self):
        super().__init__()
        self.left = LinearStack(1, 2, dtype=torch.float64)
        self.right = LinearStack(1, 2)
        self.right.weight = self.left.weight
        self.frozen = nn.Parameter(torch.ones(3, dtype=torch.bfloat16), requires_grad=False)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("none", torch.empty(0, 2))
        self.register_buffer("by_columns", torch.arange(6.0).reshape(2, 3).T)
        self.register_buffer("passing", torch.tensor([True, False]), persistent=False)
        self.plain = torch.tensor([1 + 2j])

    def forward_and_log_det(self, x):
        return self.right.forward_and_log_det(x)

    def inverse_and_log_det(self, y):
        return self.right.inverse_and_log_det(y)


def test_what_comes_back_is_what_was_pickled():
    flow = Flow([Tied()], Normal(), n_features=2)
    twin = round_trip(flow)
    before, after = flow.bijections[0], twin.bijections[0]
    assert after.left.weight is after.right.weight
    assert [name for name, _ in twin.named_parameters()] == [n for n, _ in flow.named_parameters()]
    for name in ("frozen", "count", "none", "by_columns", "passing", "plain"):
        old, new = getattr(before, name), getattr(after, name)
        assert type(new) is type(old)
        assert new.dtype == old.dtype
        assert new.requires_grad == old.requires_grad
        assert torch.equal(new, old)
    assert after.left.weight.requires_grad
    assert isinstance(after.left.weight, nn.Parameter)
    assert "passing" not in twin.state_dict()
    with torch.no_grad():
        after.left.weight.mul_(2)  # what comes back can be written to
    assert float(before.left.weight.detach().sum()) == 2


def test_copies_made_together_share_what_was_shared():
    stack = LinearStack(1, 2)
    inner = Flow([stack], Normal(), n_features=2)
    outer = Flow([Standardize(torch.zeros(2), torch.ones(2)), stack], Normal(), n_features=2)
    inner, outer = copy.deepcopy((inner, outer))
    assert outer.bijections[1] is inner.bijections[0]
    assert outer.bijections[1] is not stack


def test_pickles_of_a_plain_module_can_still_be_read(flow, x):
    class AsBefore(pickle.Pickler):
        """Pickles a flow as any module is pickled."""

        def reducer_override(self, obj):
            return object.__reduce_ex__(obj, 5) if isinstance(obj, Flow) else NotImplemented

    file = io.BytesIO()
    AsBefore(file).dump(flow)
    twin = pickle.loads(file.getvalue())
    assert isinstance(twin, Flow)
    with torch.no_grad():
        assert torch.equal(twin.log_prob(x), flow.log_prob(x))
