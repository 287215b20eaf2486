import pytest
import torch
from scipy.stats import norm

from skflow.flow import ElementwiseSpline, SplineCoupling


@torch.no_grad()
def test_a_spline_starts_as_the_identity(generator):
    x = 3 * torch.randn(100, 3, generator=generator, dtype=torch.float64)
    y, log_det = ElementwiseSpline(3, dtype=torch.float64).forward_and_log_det(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))


@torch.no_grad()
@pytest.mark.parametrize("n_rows", [300, 20_000])
def test_quantiles_make_margins_normal(n_rows, generator):
    normal = torch.randn(n_rows, 3, generator=generator, dtype=torch.float64)
    x = torch.stack([normal[:, 0].exp(), normal[:, 1] ** 3, torch.sigmoid(4 * normal[:, 2])], 1)
    spline = ElementwiseSpline(3, init="quantiles", dtype=torch.float64)
    spline.initialize(x, generator)
    z = spline(x).sort(0).values
    levels = (torch.arange(n_rows, dtype=torch.float64) + 0.5) / n_rows
    inner = (levels > 0.1) & (levels < 0.9)
    expected = torch.from_numpy(norm.ppf(levels[inner])).unsqueeze(1)
    assert (z[inner] - expected).abs().max() < 0.3


@torch.no_grad()
def test_quantiles_of_atoms_and_constants_leave_a_finite_bijection(generator):
    x = torch.zeros(500, 3, dtype=torch.float64)
    x[:100, 1] = 1
    x[:, 2] = torch.randint(3, (500,), generator=generator) * 1e6
    spline = ElementwiseSpline(3, init="quantiles", dtype=torch.float64)
    spline.initialize(x, generator)
    y, log_det = spline.forward_and_log_det(x)
    assert torch.isfinite(y).all()
    assert torch.isfinite(log_det).all()
    torch.testing.assert_close(spline.inverse(y), x, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_slopes_go_on_beyond_the_knots(generator):
    spline = ElementwiseSpline(1, dtype=torch.float64)
    spline.slopes.normal_(generator=generator)
    for side in (-1.0, 1.0):
        x = side * torch.tensor([[10.0], [20.0], [30.0]], dtype=torch.float64)
        y, log_det = spline.forward_and_log_det(x)
        torch.testing.assert_close(y[2] - y[1], y[1] - y[0])
        torch.testing.assert_close((y[1] - y[0]).abs() / 10, log_det[:1].exp())


@pytest.mark.parametrize("n_bins", [0, 1, 6])
@pytest.mark.parametrize("bijection", [ElementwiseSpline, SplineCoupling])
def test_the_number_of_bins_is_checked(bijection, n_bins):
    with pytest.raises(ValueError, match=rf"n_bins must be a power of two.*got {n_bins}"):
        bijection(4, n_bins=n_bins)
