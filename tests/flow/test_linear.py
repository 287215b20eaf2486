import copy
import pickle
import sys
from functools import partial

import numpy as np
import pytest
import torch

from skflow import RelativeGradientFlow
from skflow.flow import Flow, LeakyTanh, LinearStack, Normal, SmoothLeakyReLU, determinants, linear
from skflow.flow.determinants import Determinants
from skflow.flow.initialization import random_orthogonal, shrunk_whitening
from skflow.flow.solvers import solver


def test_log_abs_det_is_kept_until_the_weights_change(make_stack, monkeypatch):
    stack = make_stack(3, 4)
    with torch.no_grad():
        first = stack.log_abs_det()
        torch.testing.assert_close(first, torch.linalg.slogdet(stack.weight).logabsdet)
        with monkeypatch.context() as patch:
            patch.setattr(torch.linalg, "lu_factor_ex", None)  # nothing is computed
            assert stack.log_abs_det() is first
        stack.weight.mul_(2)
        torch.testing.assert_close(stack.log_abs_det(), first + 4 * torch.tensor(2.0).log())


def test_lu_factors_are_computed_once_and_only_when_needed(make_stack, generator, monkeypatch):
    calls = []
    factor = torch.linalg.lu_factor_ex

    def counting(*args, **kwargs):
        calls.append(1)
        return factor(*args, **kwargs)

    monkeypatch.setattr(torch.linalg, "lu_factor_ex", counting)
    stack = make_stack(2, 4, activation=SmoothLeakyReLU())
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = stack(x)
        assert len(calls) == 0
        stack.inverse(y)
        stack.inverse(y)
        assert len(calls) == 2  # one for each layer
        stack.weight.mul_(2)
        torch.testing.assert_close(stack.inverse(stack(x)), x)
        assert len(calls) == 4


def test_log_abs_det_of_large_layers_is_the_same_one_by_one(make_stack):
    stack = make_stack(3, 130)
    expected = torch.linalg.slogdet(stack.weight.detach()).logabsdet
    with torch.no_grad():
        torch.testing.assert_close(stack.log_abs_det(), expected)


@pytest.mark.parametrize("init", ["whiten", "orthogonal"])
@pytest.mark.parametrize("activation", [LeakyTanh(), SmoothLeakyReLU()], ids=repr)
def test_initial_output_is_standardised_however_deep(init, activation, generator):
    mixing = torch.randn(5, 5, generator=generator)
    x = torch.randn(2000, 5, generator=generator) @ mixing + 3
    stack = LinearStack(50, 5, activation=activation, init=init)
    stack.initialize(x, generator)
    with torch.no_grad():
        z = stack(x.double())
    # The last layer rotates standardised inputs: their mean square is one, all columns together.
    torch.testing.assert_close(z.mean(0), torch.zeros(5).double(), atol=1e-4, rtol=0)
    assert 0.99 < z.square().mean() < 1.01


def test_a_whitened_linear_flow_is_the_gaussian(generator):
    mixing = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(5000, 3, generator=generator, dtype=torch.float64) @ mixing + 2
    flow = Flow([LinearStack(1, 3, dtype=torch.float64)], Normal(), n_features=3)
    flow.initialize(x, generator)
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.mT.cov(correction=0))
    with torch.no_grad():
        gap = (flow.log_prob(x) - gaussian.log_prob(x)).mean()
    assert abs(gap) < 1e-4


def test_random_orthogonal_is_orthogonal_and_seeded(generator):
    q = random_orthogonal(6, generator)
    torch.testing.assert_close(q @ q.T, torch.eye(6, dtype=torch.float64))
    same = random_orthogonal(6, torch.Generator().manual_seed(1))
    assert torch.equal(same, random_orthogonal(6, torch.Generator().manual_seed(1)))


def leave_one_out_log_likelihood(x, shrinkage):
    """The oracle of the shrinkage: leave each row out for real."""
    n = len(x)
    centred = x - x.mean(0)
    target = (centred.T @ centred / n).diagonal().mean()
    total = 0.0
    for j in range(n):
        rest = torch.cat([x[:j], x[j + 1 :]])
        covariance = (1 - shrinkage) * rest.T.cov(correction=0)
        covariance = covariance + shrinkage * target * torch.eye(x.shape[1], dtype=x.dtype)
        gaussian = torch.distributions.MultivariateNormal(rest.mean(0), covariance)
        total += gaussian.log_prob(x[j])
    return total / n


@pytest.mark.parametrize("n_rows", [12, 4])  # more and fewer than columns
def test_shrinkage_has_the_highest_leave_one_out_likelihood(n_rows, generator):
    x = torch.randn(n_rows, 6, generator=generator, dtype=torch.float64)
    x = x @ torch.diag(torch.tensor([3.0, 1.0, 1.0, 0.3, 0.1, 0.1]).double())
    whitening, log_det = shrunk_whitening(x)
    torch.testing.assert_close(whitening, whitening.T)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(whitening).logabsdet)
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    mean_variance = covariance.diagonal().mean()
    shrinkages = torch.logspace(-8, 0, 33, dtype=torch.float64)
    best = max(shrinkages, key=lambda s: leave_one_out_log_likelihood(x, s))
    eye = torch.eye(6, dtype=torch.float64)
    expected = (1 - best) * covariance + best * mean_variance * eye
    torch.testing.assert_close(torch.linalg.inv(whitening @ whitening), expected)


@pytest.mark.parametrize("kind", ["duplicated column", "few rows", "two equal rows"])
def test_whitening_is_safe_without_full_rank(kind, generator):
    x = torch.randn(100, 5, generator=generator)
    if kind == "duplicated column":
        x[:, 1] = x[:, 0]
    elif kind == "few rows":
        x = x[:3]
    else:
        x = x[:1].repeat(2, 1)
    whitening, _ = shrunk_whitening(x)
    assert torch.isfinite(whitening).all()
    assert (torch.linalg.eigvalsh(whitening) > 0).all()


def step(stack, generator, rate=0.1):
    x = torch.randn(3, stack.weight.shape[-1], generator=generator, dtype=stack.weight.dtype)
    Flow([stack], Normal(), n_features=x.shape[1]).relative_gradient(x)
    with torch.no_grad():
        stack.relative_step(rate)


def test_what_a_step_puts_off_is_done_before_the_weights_are_used(make_stack, generator):
    stack = make_stack(2, 5, activation=LeakyTanh())
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        stack.log_abs_det()
        step(stack, generator)
        assert stack.gain == pytest.approx(1.1)
        effective = stack.weight * stack.gain
        y, _ = stack.forward_and_log_det(x)
        assert stack.gain == 1
        torch.testing.assert_close(stack.weight.detach(), effective.detach())
        torch.testing.assert_close(stack.inverse(y), x)
        exact = torch.linalg.slogdet(stack.weight).logabsdet
        torch.testing.assert_close(stack.log_abs_det(), exact)


def after_steps():
    """Return a flow after steps in place that put off a gain, the same at each call."""
    draw = torch.Generator().manual_seed(0)
    stack = LinearStack(2, 8, activation=LeakyTanh(), dtype=torch.float64)
    flow = Flow([stack], Normal(), n_features=8)
    with torch.no_grad():
        stack.weight.add_(0.1 * torch.randn(stack.weight.shape, generator=draw))
        stack.log_abs_det()
    for _ in range(5):
        flow.relative_gradient(torch.randn(4, 8, generator=draw, dtype=torch.float64))
        with torch.no_grad():
            stack.relative_step(0.05)
    assert stack.gain > 1.2
    return flow


def of_state(stack, x):
    twin = LinearStack(2, 8, activation=LeakyTanh(), dtype=torch.float64)
    twin.load_state_dict(stack.state_dict())
    return twin.forward_and_log_det(x)


READERS = {
    "forward": lambda flow, stack, x: stack(x),
    "forward_and_log_det": lambda flow, stack, x: stack.forward_and_log_det(x),
    "inverse": lambda flow, stack, x: stack.inverse(x),
    "inverse_and_log_det": lambda flow, stack, x: stack.inverse_and_log_det(x),
    "log_abs_det": lambda flow, stack, x: stack.log_abs_det(),
    "state_dict": lambda flow, stack, x: of_state(stack, x),
    "deepcopy": lambda flow, stack, x: copy.deepcopy(stack).forward_and_log_det(x),
    "pickle": lambda flow, stack, x: pickle.loads(pickle.dumps(stack)).forward_and_log_det(x),
    "Flow.log_prob": lambda flow, stack, x: flow.log_prob(x),
    "Flow.log_abs_det": lambda flow, stack, x: flow.log_abs_det(),
    "Flow.forward": lambda flow, stack, x: flow(x),
    "Flow.inverse": lambda flow, stack, x: flow.inverse(x),
}


@pytest.mark.parametrize("with_gradients", [True, False])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_every_reader_after_steps_sees_the_settled_weights(read, with_gradients, generator):
    x = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    flow, settled = after_steps(), after_steps()
    settled.relative_layers[0].settle()
    # An oracle without anything kept, and therefore without a gain.
    plain = after_steps()
    oracle = LinearStack(2, 8, activation=LeakyTanh(), dtype=torch.float64)
    with torch.no_grad():
        oracle.weight.copy_(plain.relative_layers[0].weight * plain.relative_layers[0].gain)
        oracle.bias.copy_(plain.relative_layers[0].bias)
    with torch.set_grad_enabled(with_gradients):
        found = read(flow, flow.relative_layers[0], x)
        assert flow.relative_layers[0].gain == 1
        expected = read(settled, settled.relative_layers[0], x)
        exact = read(Flow([oracle], Normal(), n_features=8), oracle, x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("n_features", [8, 130])  # at once, and one by one
def test_log_determinants_do_not_depend_on_the_gradient_mode(n_features, make_stack):
    for first in (True, False):
        stack = make_stack(2, n_features)
        values = []
        for with_gradients in (first, not first):
            with torch.set_grad_enabled(with_gradients):
                values.append(stack.log_abs_det())
        assert torch.equal(*values)
        assert [v.requires_grad for v in values] == [first, not first]
    # A tracked value is kept, and the gradient is the inverse's.
    with torch.no_grad():
        state = stack.state_dict()
        state["_extra_state"] = state["_extra_state"] + 0.25
        stack.load_state_dict(state)
    log_abs_det = stack.log_abs_det()
    assert torch.equal(log_abs_det, state["_extra_state"])
    (gradient,) = torch.autograd.grad(log_abs_det.sum(), stack.weight)
    torch.testing.assert_close(gradient, torch.linalg.inv(stack.weight.detach()).mT)


def test_a_singular_layer_has_minus_infinity_in_both_gradient_modes():
    stack = LinearStack(1, 3)
    with torch.no_grad():
        stack.weight[0, 0] = 0
        for _ in range(2):
            assert stack.log_abs_det().tolist() == [-torch.inf]
    assert stack.log_abs_det().tolist() == [-torch.inf]


@torch.no_grad()
def test_a_step_after_a_reader_is_the_step_without_one(generator):
    x = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    weights = []
    for reads in (False, True):
        flow = after_steps()
        (stack,) = flow.relative_layers
        flow.relative_gradient(x)
        if reads:
            flow.log_prob(x)
        stack.relative_step(0.05)
        stack.settle()
        weights.append(stack.weight.clone())
    torch.testing.assert_close(*weights, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_new_start_has_no_gain_of_the_old_weights(generator):
    x = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    started, fresh = after_steps(), after_steps()
    fresh.relative_layers[0].settle()
    for flow in (started, fresh):
        flow.initialize(x, torch.Generator().manual_seed(0))
    assert torch.equal(started.log_prob(x), fresh.log_prob(x))


def scale(weight):
    weight.data.mul_(2)


def swap_rows(weight):
    weight.data[0] = weight.data[0].flip(0)


def swap_columns(weight):
    weight.data[1] = weight.data[1].flip(1)


def change_an_entry(weight):
    weight.data[-1, 2, 3] += 0.01


def write_through_numpy(weight):
    array = weight.detach().numpy()
    array[0, 1] *= -3


HIDDEN_CHANGES = [scale, swap_rows, swap_columns, change_an_entry, write_through_numpy]


@pytest.mark.parametrize("with_gradients", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("change", HIDDEN_CHANGES)
def test_nothing_stale_is_used_after_a_change_that_is_not_counted(
    change, dtype, with_gradients, make_stack, generator
):
    stack = make_stack(2, 5, activation=LeakyTanh(), dtype=dtype)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    version = stack.weight._version
    with torch.no_grad():
        stack.inverse_and_log_det(x)  # fills what is kept
    change(stack.weight)
    assert stack.weight._version == version
    fresh = LinearStack(2, 5, activation=LeakyTanh(), dtype=dtype)
    with torch.no_grad():
        for target, source in zip(fresh.parameters(), stack.parameters(), strict=True):
            target.copy_(source)
    with torch.set_grad_enabled(with_gradients):
        torch.testing.assert_close(stack.inverse(x), fresh.inverse(x), rtol=0, atol=0)
        torch.testing.assert_close(stack.log_abs_det(), fresh.log_abs_det(), rtol=0, atol=0)
        torch.testing.assert_close(
            stack.forward_and_log_det(x), fresh.forward_and_log_det(x), rtol=0, atol=0
        )


@pytest.mark.parametrize(
    "keep",
    [
        lambda stack: stack.log_abs_det(),
        lambda stack: stack.load_state_dict(stack.state_dict()),
        lambda stack: (step(stack, torch.Generator().manual_seed(0)), stack.end_training()),
        lambda stack: (step(stack, torch.Generator().manual_seed(0)), stack.state_dict()),
    ],
    ids=["log_abs_det", "load_state_dict", "end_training", "state_dict"],
)
@torch.no_grad()
def test_what_was_kept_by_other_means_is_not_used_when_stale(keep, make_stack):
    stack = make_stack(2, 5)
    stack.log_abs_det()
    keep(stack)
    assert stack.log_abs_det_is_known
    stack.weight.data.mul_(2)
    twins = [copy.deepcopy(stack), pickle.loads(pickle.dumps(stack)), make_stack(2, 5)]
    twins[-1].load_state_dict(stack.state_dict())
    exact = torch.linalg.slogdet(stack.weight).logabsdet
    assert not stack.log_abs_det_is_known
    for one in (stack, *twins):
        torch.testing.assert_close(one.log_abs_det(), exact)


@torch.no_grad()
def test_weights_that_were_not_changed_keep_what_is_known(make_stack):
    stack = make_stack(2, 5)
    first = stack.log_abs_det()
    scale(stack.weight)
    assert stack.log_abs_det() is not first
    second = stack.log_abs_det()
    assert stack.log_abs_det() is second


@torch.no_grad()
def test_weights_are_looked_at_once_where_they_are_said_to_stay(make_stack):
    stack = make_stack(1, 5)
    flow = Flow([stack], Normal(), n_features=5)
    known = stack.log_abs_det()
    with flow.unchanged():
        stack.weight.data.mul_(2)  # against what was said
        assert stack.log_abs_det() is known
        stack.weight.mul_(2)  # PyTorch counts this one
        exact = torch.linalg.slogdet(stack.weight).logabsdet
        torch.testing.assert_close(stack.log_abs_det(), exact)
    stack.weight.data.mul_(2)
    with flow.unchanged():
        torch.testing.assert_close(stack.log_abs_det(), exact)
    torch.testing.assert_close(stack.log_abs_det(), exact)


def with_calls_between_lines(function, other):
    """Return what `function` does where `other` is called before each line of the dense layers.

    So would another thread, if it were switched to there.
    """

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in {linear.__file__, determinants.__file__}:
            return None
        if event == "line":
            other()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return function()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_calls_in_another_precision_may_come_between_any_two_lines(dtype, make_stack, generator):
    stack = make_stack(2, 3)
    y = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    mine, others = (y, y.float()) if dtype == torch.float64 else (y.float(), y)
    expected, others_expected = (stack.inverse_and_log_det(z) for z in (mine, others))
    calls = []

    def other():
        calls.append(1)
        found = stack.inverse_and_log_det(others)
        torch.testing.assert_close(found, others_expected, rtol=0, atol=0)

    found = with_calls_between_lines(lambda: stack.inverse_and_log_det(mine), other)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert len(calls) > 20


def test_a_gain_does_not_outgrow_the_float_type(generator):
    stack = LinearStack(1, 6)
    with torch.no_grad():
        stack.log_abs_det()
        for _ in range(3000):
            step(stack, generator, rate=0.05)  # 1.05 to the 3000th is 10 to the 63rd
            assert stack.gain < 1100
        assert torch.isfinite(stack.log_abs_det()).all()


def test_rounding_of_the_diagonals_does_not_add_up(generator):
    # In 2,000 steps it would come to some 1e-5 nats.
    stack = LinearStack(1, 100)
    x = torch.randn(500, 100, generator=generator)
    stack.initialize(x, generator)
    flow = Flow([stack], Normal(), n_features=100)
    with torch.no_grad():
        stack.log_abs_det()
        for _ in range(2000):
            flow.relative_gradient(x[torch.randint(500, (2,), generator=generator)])
            stack.relative_step(2e-4)
    assert stack.end_training() == pytest.approx(0, abs=2e-6)


def test_a_step_that_rounding_would_lose_is_not_taken(generator):
    stack = LinearStack(2, 5, activation=LeakyTanh())
    with torch.no_grad():
        log_abs_det = stack.log_abs_det()
        weight = stack.weight.clone()
        step(stack, generator, rate=1e-8)
    assert stack.gain == 1
    assert torch.equal(stack.weight, weight)
    assert stack.log_abs_det_is_known
    assert torch.equal(stack.get_extra_state(), log_abs_det)


@pytest.mark.parametrize("most_inverted", [0, 2048])
def test_the_inverse_of_an_ill_conditioned_layer_in_float32(generator, most_inverted):
    u, v = (random_orthogonal(20, generator) for _ in range(2))
    weight = (u @ torch.logspace(-1, 2, 20).double().diag() @ v).float()
    x = torch.randn(30, 20, generator=generator)
    y = x.double() @ weight.double().T
    exact = torch.linalg.solve(weight.double(), y.T).T
    # More than one block of the inverse.
    solve = solver(weight, torch.float32, most_inverted=most_inverted, block_entries=70)
    assert (solve(y.float()) - exact).abs().max() < 1e-3  # condition number times eps


def test_states_and_pickles_keep_the_log_determinants(make_stack, monkeypatch):
    stack = make_stack(2, 4)
    with torch.no_grad():
        known = stack.log_abs_det()
        twin = make_stack(2, 4)
        twin.load_state_dict(stack.state_dict())
        copies = [twin, copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))]
        monkeypatch.setattr(torch.linalg, "lu_factor_ex", None)  # nothing is computed
        for one in copies:
            assert torch.equal(one.log_abs_det(), known)


def test_a_state_without_log_determinants_makes_them_forgotten(make_stack):
    stack, other = make_stack(2, 4), make_stack(2, 4)
    with torch.no_grad():
        stack.log_abs_det()
        stack.load_state_dict(other.state_dict())
        assert not stack.log_abs_det_is_known
        torch.testing.assert_close(
            stack.log_abs_det(), torch.linalg.slogdet(other.weight).logabsdet
        )


@pytest.mark.parametrize("init", ["whiten", "orthogonal"])
def test_log_determinants_of_many_columns_are_known_from_the_start(init, generator):
    stack = LinearStack(3, 6, activation=LeakyTanh(), init=init, dtype=torch.float64)
    stack.determinants = Determinants(most_computed=5)
    stack.initialize(torch.randn(30, 6, generator=generator), generator)
    assert stack.log_abs_det_is_known
    with torch.no_grad():
        exact = torch.linalg.slogdet(stack.weight).logabsdet
        torch.testing.assert_close(stack.log_abs_det(), exact)


def test_the_end_of_training_corrects_the_log_determinants(make_stack):
    stack = make_stack(2, 6)
    with torch.no_grad():
        exact = stack.log_abs_det().clone()
        stack.set_extra_state(exact + 0.25)
        assert stack.end_training() == pytest.approx(0.5)
        torch.testing.assert_close(stack.log_abs_det(), exact)
        # Of many columns, the tracked ones are kept.
        stack.determinants = Determinants(most_checked=5)
        stack.set_extra_state(exact + 0.25)
        assert stack.end_training() is None
        torch.testing.assert_close(stack.log_abs_det(), exact + 0.25)


def test_random_orthogonal_of_many_columns(generator):
    draw = partial(random_orthogonal, 101, generator, most_factored=5, block_entries=200)
    q = draw()
    torch.testing.assert_close(q @ q.T, torch.eye(101, dtype=torch.float64))
    # Like entries of a uniform one, close to normal.
    assert 2.5 < q.pow(4).mean() / q.pow(2).mean() ** 2 < 3.5
    assert not torch.equal(q, draw())


@pytest.mark.parametrize("batch_size", [160, 50, 300])
def test_wide_layers_are_factored_one_by_one(batch_size, monkeypatch, rng):
    # PyTorch's factorisations of batches of wide matrices hang with more than one thread.
    shapes = []
    for name in ("inv", "lu_factor", "lu_factor_ex", "slogdet", "solve"):
        function = getattr(torch.linalg, name)

        def recording(matrix, *args, function=function, **kwargs):
            shapes.append(matrix.shape)
            return function(matrix, *args, **kwargs)

        monkeypatch.setattr(torch.linalg, name, recording)
    X = rng.normal(size=(400, 200))
    flow = RelativeGradientFlow(3, max_iter=1, batch_size=batch_size, random_state=0).fit(X)
    assert np.isfinite(flow.score(X))
    assert np.isfinite(flow.sample(2)).all()
    wide = [shape for shape in shapes if shape[-1] > 128]
    assert (200, 200) in wide
    assert all(len(shape) == 2 for shape in wide)
