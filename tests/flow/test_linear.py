import copy
import pickle

import numpy as np
import pytest
import torch

from skflow import RelativeGradientFlow
from skflow.flow import Flow, LeakyTanh, LinearStack, Normal, SmoothLeakyReLU, linear
from skflow.flow.initialization import random_orthogonal, shrunk_whitening


def test_log_abs_det_is_kept_until_the_weights_change(make_stack, monkeypatch):
    stack = make_stack(3, 4)
    with torch.no_grad():
        first = stack.log_abs_det()
        torch.testing.assert_close(first, torch.linalg.slogdet(stack.weight).logabsdet)
        with monkeypatch.context() as patch:
            patch.setattr(linear, "_log_abs_dets", None)
            assert stack.log_abs_det() is first
        stack.weight.mul_(2)
        torch.testing.assert_close(stack.log_abs_det(), first + 4 * torch.tensor(2.0).log())


def test_lu_factors_are_computed_once_and_only_when_needed(make_stack, generator, monkeypatch):
    calls = []
    lu_factor = linear._lu_factor
    monkeypatch.setattr(linear, "_lu_factor", lambda *args: calls.append(1) or lu_factor(*args))
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


def test_log_abs_det_of_large_layers_is_the_same_one_by_one(monkeypatch, make_stack):
    stack = make_stack(3, 6)
    expected = torch.linalg.slogdet(stack.weight.detach()).logabsdet
    monkeypatch.setattr(linear, "_MOST_BATCHED_COLUMNS", 5)
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
def test_the_inverse_of_an_ill_conditioned_layer_in_float32(generator, monkeypatch, most_inverted):
    monkeypatch.setattr(linear, "_MOST_INVERTED_COLUMNS", most_inverted)
    monkeypatch.setattr(linear, "_BLOCK_ENTRIES", 70)  # more than one block
    stack = LinearStack(1, 20)
    with torch.no_grad():
        u, v = (random_orthogonal(20, generator) for _ in range(2))
        stack.weight[0] = u @ torch.logspace(-1, 2, 20).double().diag() @ v
    x = torch.randn(30, 20, generator=generator)
    with torch.no_grad():
        y = stack(x.double())
        exact = torch.linalg.solve(stack.weight[0].double(), y.T).T
        assert (stack.inverse(y.float()) - exact).abs().max() < 1e-3  # condition number times eps


def test_states_and_pickles_keep_the_log_determinants(make_stack, monkeypatch):
    stack = make_stack(2, 4)
    with torch.no_grad():
        known = stack.log_abs_det()
        twin = make_stack(2, 4)
        twin.load_state_dict(stack.state_dict())
        copies = [twin, copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))]
        monkeypatch.setattr(linear, "_log_abs_dets", None)  # nothing is computed
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
def test_log_determinants_of_many_columns_are_known_from_the_start(init, generator, monkeypatch):
    monkeypatch.setattr(linear, "_MOST_COMPUTED_COLUMNS", 5)
    stack = LinearStack(3, 6, activation=LeakyTanh(), init=init, dtype=torch.float64)
    stack.initialize(torch.randn(30, 6, generator=generator), generator)
    assert stack.log_abs_det_is_known
    with torch.no_grad():
        exact = torch.linalg.slogdet(stack.weight).logabsdet
        torch.testing.assert_close(stack.log_abs_det(), exact)


def test_the_end_of_training_corrects_the_log_determinants(make_stack, generator, monkeypatch):
    stack = make_stack(2, 6)
    with torch.no_grad():
        exact = stack.log_abs_det().clone()
        stack._keep(exact + 0.25)
        assert stack.end_training() == pytest.approx(0.5)
        torch.testing.assert_close(stack.log_abs_det(), exact)
        # Of many columns, the tracked ones are kept.
        monkeypatch.setattr(linear, "_MOST_CHECKED_COLUMNS", 5)
        stack._keep(exact + 0.25)
        assert stack.end_training() is None
        torch.testing.assert_close(stack.log_abs_det(), exact + 0.25)


def test_random_orthogonal_of_many_columns(generator, monkeypatch):
    monkeypatch.setattr("skflow.flow.initialization._MOST_FACTORED_COLUMNS", 5)
    monkeypatch.setattr("skflow.flow.initialization._BLOCK_ENTRIES", 200)
    q = random_orthogonal(101, generator)
    torch.testing.assert_close(q @ q.T, torch.eye(101, dtype=torch.float64))
    # Like entries of a uniform one, close to normal.
    assert 2.5 < q.pow(4).mean() / q.pow(2).mean() ** 2 < 3.5
    assert not torch.equal(q, random_orthogonal(101, generator))


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
