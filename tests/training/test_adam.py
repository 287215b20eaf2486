"""Adam against PyTorch's, and against its formula."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from skflow.training.adam import AdamW


@pytest.fixture
def parameters(generator):
    shapes = ((3, 4), (5,), (2, 1, 3))
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def gradients(parameters, generator):
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]


def take_steps(optimizer, parameters, steps):
    for rate, some in steps:
        for parameter, gradient in zip(parameters, some, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        optimizer(rate)


@pytest.fixture
def steps(parameters, generator):
    steps = [(0.1 / k, gradients(parameters, generator)) for k in range(1, 6)]
    steps[2][1][1] = None  # a parameter that had no part in a step
    return steps


def test_it_is_pytorchs_bit_for_bit(parameters, steps):
    theirs = copy.deepcopy(parameters)
    groups = [
        {"params": theirs[:1], "weight_decay": 0.3},
        {"params": theirs[1:], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)

    def their_step(rate):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

    take_steps(AdamW([(parameters[:1], 0.3), (parameters[1:], 0.0)]).step, parameters, steps)
    take_steps(their_step, theirs, steps)
    for ours, expected in zip(parameters, theirs, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_computes_the_formula(parameters, steps, dtype):
    parameters = [nn.Parameter(p.detach().to(dtype)) for p in parameters]
    plain = copy.deepcopy(parameters)
    steps = [(rate, [None if g is None else g.to(dtype) for g in some]) for rate, some in steps]
    take_steps(AdamW([(parameters, 0.3)]).step, parameters, steps)
    take_steps(AdamW([(plain, 0.3)], fused=False).step, plain, steps)
    for ours, expected in zip(parameters, plain, strict=True):
        torch.testing.assert_close(ours, expected)


def test_it_goes_on_from_what_it_kept(parameters, steps):
    twins = copy.deepcopy(parameters)
    adam = AdamW([(parameters, 0.1)])
    take_steps(adam.step, parameters, steps)

    first = AdamW([(twins, 0.1)])
    take_steps(first.step, twins, steps[:3])
    second = AdamW([(twins, 0.1)])
    second.load_state_dict(first.state_dict())
    kept = copy.deepcopy(first.state_dict())
    take_steps(second.step, twins, steps[3:])
    for ours, expected in zip(twins, parameters, strict=True):
        assert torch.equal(ours, expected)
    for k, state in first.state_dict().items():  # which was copied
        assert all(torch.equal(state[name], kept[k][name]) for name in state)


def test_a_step_is_told_to_autograd(parameters, generator):
    adam = AdamW([(parameters, 0.0)])
    before = [p._version for p in parameters]
    take_steps(adam.step, parameters, [(0.1, gradients(parameters, generator))])
    assert all(p._version > version for p, version in zip(parameters, before, strict=True))


def test_precisions_may_be_mixed(generator):
    parameters = [
        nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in (torch.float32, torch.float64)
    ]
    adam = AdamW([(parameters, 0.0)])
    take_steps(adam.step, parameters, [(0.5, gradients(parameters, generator))])
    assert all(bool((p != 1).all()) for p in parameters)


def test_a_fit_does_not_import_the_compiler():
    program = (
        "import sys, numpy as np\n"
        "from skflow import RelativeGradientFlow\n"
        "X = np.random.default_rng(0).normal(size=(60, 2))\n"
        "RelativeGradientFlow(2, max_iter=1).fit(X).score(X)\n"
        "assert 'torch._dynamo' not in sys.modules, 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
