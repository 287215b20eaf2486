import numpy as np
import pytest
import torch
from scipy import stats

from skflow.flow import HyperbolicSecant, Normal

BASES = [(Normal(), stats.norm()), (HyperbolicSecant(), stats.hypsecant(scale=2 / np.pi))]


@pytest.mark.parametrize(("base", "reference"), BASES, ids=lambda b: type(b).__name__)
def test_log_prob_is_that_of_scipy(base, reference):
    z = torch.linspace(-30, 30, 61, dtype=torch.float64).reshape(-1, 1).expand(-1, 2)
    expected = 2 * reference.logpdf(z[:, 0].numpy())
    np.testing.assert_allclose(base.log_prob(z).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("base", "reference"), BASES, ids=lambda b: type(b).__name__)
def test_samples_follow_the_distribution(base, reference, generator):
    z = base.sample((20_000, 1), generator=generator)
    assert stats.kstest(z[:, 0].numpy(), reference.cdf).pvalue > 1e-3
    assert base.sample((3, 2), generator=generator, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("base", [Normal(), HyperbolicSecant()], ids=lambda b: type(b).__name__)
def test_stable_far_out_in_float32(base):
    z = torch.tensor([[1e3], [-1e3]], requires_grad=True)
    log_prob = base.log_prob(z)
    log_prob.sum().backward()
    torch.testing.assert_close(log_prob.detach().double(), base.log_prob(z.detach().double()))
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("base", [Normal(), HyperbolicSecant()], ids=lambda b: type(b).__name__)
def test_the_ends_of_the_uniform_give_finite_samples(base, dtype):
    half_step = 0.5 * torch.finfo(dtype).eps
    ends = torch.tensor(
        [half_step, (1 - 2 * half_step) * (1 - half_step) + half_step], dtype=dtype
    )
    assert torch.isfinite(base.quantile(ends)).all()
