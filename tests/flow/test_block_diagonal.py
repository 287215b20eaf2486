import copy

import pytest
import torch

from skflow.flow import BlockDiagonal, Flow, LinearStack, LogDensity, Normal, SmoothLeakyReLU
from skflow.flow.initialization import random_orthogonal
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD
from skflow.training.steps import end_training


@pytest.fixture
def layer(generator):
    layer = BlockDiagonal(6, n_groups=2, dtype=torch.float64)
    for parameter in layer.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.add_(0.3 * noise)
    return layer


def as_dense(layer):
    """Return the dense layer whose weights are zero off the blocks."""
    stack = LinearStack(1, 6, dtype=torch.float64)
    with torch.no_grad():
        stack.weight[0] = torch.block_diag(*layer.weight)
        stack.bias[0] = layer.bias.flatten()
    return stack


def test_it_is_a_dense_layer_with_zeros_off_the_blocks(layer, generator):
    x = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    dense = as_dense(layer)
    with torch.no_grad():
        for found, expected in zip(
            (*layer.forward_and_log_det(x), *layer.inverse_and_log_det(x)),
            (*dense.forward_and_log_det(x), *dense.inverse_and_log_det(x)),
            strict=True,
        ):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_rows", [2, 20])  # fewer than columns in a group, and more
def test_its_relative_gradient_is_that_of_the_augmented_matrices(layer, n_rows, generator):
    x = torch.randn(n_rows, 6, generator=generator, dtype=torch.float64)
    weights = torch.rand(n_rows, generator=generator, dtype=torch.float64)
    flow = Flow([layer, SmoothLeakyReLU()], Normal(), n_features=6)
    loss = -(weights * flow.log_prob(x)).mean()
    by_weight, by_bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
    expected = torch.zeros(2, 4, 4, dtype=torch.float64)
    augmented = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    with torch.no_grad():
        augmented[:, :3, :3], augmented[:, :3, 3] = layer.weight, layer.bias
    expected[:, :3, :3], expected[:, :3, 3] = by_weight, by_bias
    expected = expected @ augmented.mT @ augmented

    found = flow.relative_gradient(x, weights)
    layer.set_gradients()
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(layer.weight.grad, expected[:, :3, :3], **close)
    torch.testing.assert_close(layer.bias.grad, expected[:, :3, 3], **close)
    with torch.no_grad():
        torch.testing.assert_close(found - weights.mean() * flow.log_abs_det(), loss, **close)


@pytest.mark.parametrize("n_rows", [2, 20])
def test_a_step_descends_along_it(layer, n_rows, generator):
    flow = Flow([layer], Normal(), n_features=6)
    flow.relative_gradient(torch.randn(n_rows, 6, generator=generator, dtype=torch.float64))
    before = copy.deepcopy(layer)
    expected = before.weight - 0.05 * layer.factors.weight_gradient(before.weight)
    assert RelativeSGD(flow).step(0.05)
    torch.testing.assert_close(layer.weight, expected, rtol=1e-10, atol=1e-10)
    assert copy.deepcopy(layer).factors is None
    assert layer.factors is not None
    assert end_training(flow) is None
    assert layer.factors is None


@pytest.mark.parametrize("batch", [2, 50])
@pytest.mark.parametrize("optimizer_class", [NormalizedRelativeSGD, RelativeSGD, Adam])
def test_it_trains_by_every_optimizer(optimizer_class, batch, generator):
    # Two groups of correlated columns, which a block-diagonal map makes white.
    scales = torch.diag(torch.tensor([0.5, 1.0, 2.0]))
    mixing = torch.block_diag(*(random_orthogonal(3, generator).float() @ scales for _ in "ab"))
    x = torch.randn(2000, 6, generator=generator) @ mixing
    layer = BlockDiagonal(6, n_groups=2)
    flow = Flow([layer], Normal(), n_features=6)
    optimizer = optimizer_class(flow)

    def excess():
        """Return the loss above that of the Gaussian with the covariance of the data."""
        with torch.no_grad():
            gaussian = 3 + 0.5 * torch.logdet(2 * torch.pi * x.T.cov())
            return float(-flow.log_prob(x).mean() - gaussian)

    start = excess()
    for step in range(1000):
        batch_of_rows = x[torch.randint(2000, (batch,), generator=generator)]
        flow.relative_gradient(batch_of_rows)
        assert optimizer.step(0.01 * (1 - step / 1000))
    assert excess() < 0.2 * start


def test_its_start_whitens_each_group(generator):
    x = torch.randn(5000, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 3
    layer = BlockDiagonal(6, n_groups=3)
    layer.initialize(x, generator)
    with torch.no_grad():
        y = layer(x)
    for group in y.split(2, dim=1):
        torch.testing.assert_close(group.T.cov(), torch.eye(2), atol=0.05, rtol=0)
    torch.testing.assert_close(y.mean(0), torch.zeros(6), atol=1e-3, rtol=0)


def test_it_is_exported(layer, generator):
    flow = Flow([layer], Normal(), n_features=6)
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    module = LogDensity(flow)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.testing.assert_close(program.module()(x), flow.log_prob(x))


def test_groups_divide_the_columns():
    with pytest.raises(ValueError, match=r"n_groups must divide n_features=6, .*; got 4"):
        BlockDiagonal(6, n_groups=4)


def test_it_is_applied_once_in_a_pass(layer):
    flow = Flow([layer, layer], Normal(), n_features=6)
    with pytest.raises(RuntimeError, match="applied twice"):
        flow.relative_gradient(torch.zeros(4, 6, dtype=torch.float64))
