"""What a step exchanges, and when, by a group that notes it."""

import torch
from torch import nn

from skflow.distributed.step import StepExchange
from skflow.flow import Bijection, Flow, LinearStack, StudentT
from skflow.flow.relative import Factors, Sums, heard
from skflow.training.batches import Batch, Whole
from skflow.training.optimizers import RelativeSGD
from skflow.training.rows import Rows


class Scale(Bijection):
    """Tells when its gradient is there."""

    def __init__(self, n_features, events, name):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_features))
        hook = self.log_scale.register_post_accumulate_grad_hook
        hook(lambda _: events.append(name))

    def forward_and_log_det(self, x):
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse_and_log_det(self, y):
        return y * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(y))


class Alone:
    """A group of one process, which notes what is sent."""

    rank, n_ranks = 0, 1

    def __init__(self, events):
        self.events = events

    def sum(self, tensor):
        self.events.append(f"sum of {tensor.numel()}")
        return lambda: tensor

    def gather(self, tensor):
        self.events.append(f"gather of {tensor.numel()}")
        return lambda: tensor[None]


def step(n_rows, n_features=4):
    events = []
    generator = torch.Generator().manual_seed(0)
    names = ("first", "second", "third")
    scales = [Scale(n_features, events, name) for name in names]
    layers = [LinearStack(1, n_features) for _ in range(2)]
    bijections = [scales[0], layers[0], scales[1], layers[1], scales[2]]
    flow = Flow(bijections, StudentT(), n_features=n_features)
    x = torch.randn(n_rows, n_features, generator=generator)
    flow.initialize(x, generator)
    optimizer = RelativeSGD(flow)
    weights = torch.ones(n_rows, dtype=torch.float64)
    batch = Batch(x, weights, None, Whole(Rows(x), torch.arange(n_rows), 1.0))
    events.clear()
    exchange = StepExchange(Alone(events), optimizer, batch, 0.0)
    with heard(layers, exchange):
        flow.relative_gradient(x, weights)
    told = exchange.end([3.0, 1.0])
    return events, told, flow, optimizer, layers


def test_the_exchange_runs_while_the_pass_goes_on():
    events, told, *_ = step(n_rows=20)
    # 4² + 4 of each dense layer; 4 of each scale and of the base; 2 that are told.
    assert events == [
        "third",
        "sum of 20",
        "second",
        "sum of 20",
        "sum of 12",
        "first",
        "sum of 6",
    ]
    assert told == [3.0, 1.0]


def test_factors_are_gathered_where_rows_are_few():
    events, *_, layers = step(n_rows=3)
    assert events.count(f"gather of {2 * 3 * 4}") == 2  # the third would be more than the sums
    assert all(isinstance(layer.factors, Factors) for layer in layers)
    events, *_, layers = step(n_rows=2)
    assert events.count(f"gather of {3 * 2 * 4}") == 2
    torch.testing.assert_close(
        layers[0].factors.y_weight[0], layers[0].factors.y[0] @ layers[0].weight[0]
    )


def test_of_one_process_the_step_is_what_it_is_alone():
    for n_rows in (2, 3, 20):
        _, _, flow, optimizer, layers = step(n_rows)
        exchanged = [gradient.clone() for gradient in optimizer.gradients()]
        relative = [layer.factors.relative() for layer in layers]
        assert isinstance(layers[0].factors, Sums) == (n_rows == 20)
        for gradient in optimizer.gradients():
            gradient.zero_()
        x = torch.randn(n_rows, 4, generator=torch.Generator().manual_seed(0))
        flow.relative_gradient(x)
        torch.testing.assert_close(optimizer.gradients(), exchanged)
        torch.testing.assert_close([layer.factors.relative() for layer in layers], relative)
