"""Samples that starts are made from, without spread, with little of it, or with too much."""

import pytest
import torch

from skflow.flow import ElementwiseSpline, Flow, LinearStack, NormalMixture
from skflow.flow.initialization import shrunk_whitening

SAMPLES = {
    "one distinct row": lambda g: torch.full((40, 2), 5.3),
    "a constant column": lambda g: torch.randn(40, 2, generator=g) * torch.tensor([1.0, 0.0]) + 7,
    "copied columns": lambda g: torch.randn(40, 1, generator=g).expand(40, 2).contiguous(),
    "two rows": lambda g: torch.randn(2, 2, generator=g),
    "an offset": lambda g: torch.randn(40, 2, generator=g).double() + 1e9,
    "an offset of less precision": lambda g: torch.randn(40, 2, generator=g) + 1e9,
    "a constant far out": lambda g: torch.full((40, 2), 1e6),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("weighted", [False, True])
def test_starts_from_degenerate_samples_are_finite(name, weighted, generator):
    x = SAMPLES[name](generator)
    weights = torch.rand(len(x), generator=generator).double() + 0.5 if weighted else None
    bijections = [ElementwiseSpline(2, init="quantiles"), LinearStack(1, 2)]
    flow = Flow(bijections, NormalMixture(4), n_features=2)
    flow.initialize(x, generator, weights)
    with torch.no_grad():
        assert torch.isfinite(flow(x)).all()
        assert torch.isfinite(flow.log_prob(x)).all()


@pytest.mark.parametrize("value", [1e200, torch.inf, torch.nan])
def test_samples_too_large_to_start_from_are_refused(value, generator):
    x = torch.randn(40, 2, generator=generator).double()
    x[3] = value
    x[4] = -value
    for start in (
        lambda: shrunk_whitening(x),
        lambda: shrunk_whitening(x[:, :1].expand(40, 60)),
        lambda: LinearStack(1, 2, dtype=torch.float64).initialize(x, generator),
    ):
        with pytest.raises(ValueError, match="Centre and scale the columns"):
            start()
    mixture = NormalMixture(2)
    mixture.allocate(2)
    with pytest.raises(ValueError, match="Centre and scale the columns"):
        mixture.initialize(x, generator)
