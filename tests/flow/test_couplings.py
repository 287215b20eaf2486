import pytest
import torch

from skflow.flow import AffineCoupling, SplineCoupling

COUPLINGS = [AffineCoupling, SplineCoupling]


@torch.no_grad()
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("n_features", [2, 5])
def test_a_coupling_starts_as_the_identity(coupling, n_features, generator):
    made = coupling(n_features, dtype=torch.float64)
    x = torch.randn(50, n_features, generator=generator, dtype=torch.float64)
    made.initialize(x, generator)
    y, log_det = made.forward_and_log_det(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))


@torch.no_grad()
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_one_half_is_given_and_says_how_the_other_is_mapped(coupling, generator):
    made = coupling(5, dtype=torch.float64)
    x = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    made.initialize(x, generator)
    for parameter in made.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_(0.3 * noise)
    y = made(x)
    assert torch.equal(y[:, :2], x[:, :2])
    other = x.clone()
    other[:, 0] += 1
    assert (made(other)[:, 2:] - y[:, 2:]).abs().min() > 0
    other = x.clone()
    other[:, 4] += 1
    assert torch.equal(made(other)[:, :4], y[:, :4])


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_one_column_cannot_be_coupled(coupling):
    with pytest.raises(ValueError, match=r"n_features must be 2 or more for a coupling, got 1"):
        coupling(1)
