"""Maps of single columns with missing entries."""

import numpy as np
import pytest
import torch

from skflow.tables.margins import Margins


def rows(n=400):
    rng = np.random.default_rng(0)
    # Heavy tails, a skew, and most of a column close to its end.
    x = np.column_stack(
        [rng.standard_t(1.5, n), rng.lognormal(0, 2, n), np.minimum(rng.normal(1, 0.5, n), 1)]
    )
    x[:, 2] += 1e-3 * rng.normal(size=n)
    x[rng.uniform(size=x.shape) < 0.2] = np.nan
    return torch.from_numpy(x)


@pytest.fixture(scope="module", params=["standard", "normal"])
def margins(request):
    found = Margins.standard(rows())
    return found if request.param == "standard" else found.to_normal(rows())


def test_what_is_missing_stays_missing(margins):
    z, log_det = margins.forward(rows())
    assert torch.equal(z.isnan(), rows().isnan())
    assert log_det.isfinite().all()


def test_slopes_are_differences(margins):
    x = rows()[~rows().isnan().any(1)][:50]
    step = 1e-7 * (1 + x.abs())
    (high, _), (low, _) = margins.forward(x + step), margins.forward(x - step)
    slopes = ((high - low) / (2 * step)).log().sum(1)
    np.testing.assert_allclose(margins.forward(x)[1], slopes, atol=1e-3)


def test_draws_go_back_to_where_they_came_from(margins):
    x = rows()[~rows().isnan().any(1)][:50]
    z, log_det = margins.forward(x)
    missing = torch.full_like(x, torch.nan)
    back, log_slopes = margins.inverse(z[:, None], missing)
    np.testing.assert_allclose(back[:, 0], x, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(log_slopes[:, 0], log_det, atol=1e-6)
    known, nothing = margins.inverse(z[:, None], x)
    assert torch.equal(known[:, 0], x)
    assert not nothing.any()


def test_normal_columns_do_not_run_away():
    # Standardised, the third column ends 0.7 above its centre, beyond which its tail is bent.
    x = rows()
    margins = Margins.standard(x).to_normal(x)
    z = torch.zeros(1, 1, 3, dtype=x.dtype) + 4
    back, _ = margins.inverse(z, torch.full((1, 3), torch.nan, dtype=x.dtype))
    assert float(back[0, 0, 2]) < 1.1
