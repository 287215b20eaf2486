"""Rows and latents near the largest float."""

import pytest
import torch

from skflow.exceptions import InversionError
from skflow.flow import (
    AffineCoupling,
    ElementwiseSpline,
    Flow,
    HyperbolicSecant,
    LeakyTanh,
    LinearStack,
    Logistic,
    Normal,
    NormalMixture,
    SmoothLeakyReLU,
    SplineCoupling,
    Standardize,
    StudentT,
)

BETWEEN = {
    "spline_couplings": lambda: [
        SplineCoupling(3, n_hidden=4, n_bins=4),
        ElementwiseSpline(3, n_bins=4),
    ],
    "affine_couplings": lambda: [
        AffineCoupling(3, n_hidden=4),
        ElementwiseSpline(3, n_bins=4),
    ],
    "leaky_tanh": lambda: [LeakyTanh()],
    "smooth_leaky_relu": lambda: [SmoothLeakyReLU()],
}


def make(between, base, generator):
    bijections = [
        Standardize(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([0.5, 2.0, 1e-3])),
        LinearStack(1, 3),
        *BETWEEN[between](),
        LinearStack(1, 3, init="orthogonal"),
    ]
    flow = Flow(bijections, base, n_features=3)
    flow.initialize(torch.randn(50, 3, generator=generator), generator)
    for parameter in flow.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return flow


flows = pytest.mark.parametrize(
    ("between", "base"),
    [(between, Normal) for between in BETWEEN]
    + [("leaky_tanh", base) for base in (HyperbolicSecant, Logistic, StudentT)]
    + [("leaky_tanh", lambda: NormalMixture(2))],
)


def signs(dtype):
    ones = torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)
    return torch.cartesian_prod(ones, ones, ones)


@flows
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_row_of_numbers_scores_nan(between, base, dtype, generator):
    flow = make(between, base(), generator)
    for share in (0.999, 0.3, 1e-3):
        x = signs(dtype) * torch.finfo(dtype).max * share
        with torch.no_grad():
            log_prob = flow.log_prob(x)
        assert not log_prob.isnan().any()
        assert (log_prob < torch.inf).all()
        x.requires_grad_()
        torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=1e-4, atol=1e-4)


@flows
def test_what_is_not_a_number_still_scores_nan(between, base, generator):
    flow = make(between, base(), generator)
    x = torch.cat([torch.zeros(1, 3), torch.finfo(torch.float32).max * signs(torch.float32)])
    with torch.no_grad():
        x[0, 1] = torch.nan
        assert flow.log_prob(x).isnan().nonzero().tolist() == [[0]]
        weight = flow.bijections[-1].weight
        weight[0, 0, 0] = torch.nan
        assert flow.log_prob(x).isnan().all()


@flows
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_latents_whose_image_overflows_are_refused(between, base, dtype, generator):
    flow = make(between, base(), generator)
    # Small weights make large images.
    for bijection in flow.bijections:
        if isinstance(bijection, LinearStack):
            bijection.weight.data.mul_(1e-3)
    for z in signs(dtype)[[0, 6, 26]]:
        with pytest.raises(InversionError):
            flow.inverse(z.unsqueeze(0) * torch.finfo(dtype).max * 0.9)


def test_the_message_counts_rows_that_overflow():
    flow = Flow([Standardize(torch.zeros(2), torch.full((2,), 1e30))], Normal(), n_features=2)
    z = torch.tensor([[1.0, 1.0], [1e10, 1.0], [torch.inf, 1.0]])
    with pytest.raises(InversionError, match=r"1 row\(s\) of latents"):
        flow.inverse(z)
    flow.inverse(z.double())
    assert flow.inverse(z[2:]).isinf().any()  # as it was given
