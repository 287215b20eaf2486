"""Few rows far out, long tails and positive columns: what comes before all that trains."""

import numpy as np
import pytest
import torch

from skflow.flow import SoftLogarithm
from skflow.training.rows import Rows
from skflow.training.standardization import standardization


def mapped(X, **kwargs):
    data = torch.from_numpy(X)
    front = standardization(Rows(data, **kwargs), robust=True)
    return front(data).numpy(), front


def test_what_is_far_out_moves_no_scale(rng):
    X = rng.normal(size=(1000, 2))
    dirty = X.copy()
    dirty[0] = 1e6, -1e6
    clean, expected = (mapped(rows)[0] for rows in (X, dirty))
    np.testing.assert_allclose(clean[1:], expected[1:], atol=0.08)
    assert (np.abs(expected[0]) < 40).all()
    assert np.abs(clean.mean(0)).max() < 1e-9  # no normal row lies in a tail
    np.testing.assert_allclose(clean.std(0), 1, atol=1e-9)


def test_positive_columns_with_long_tails_go_through_their_logarithm(rng):
    normal = rng.normal(size=(2000, 1))
    X = np.hstack([np.exp(3 * normal), normal + 10, 5 - np.exp(normal)])
    y, front = mapped(X)
    assert isinstance(front.parts[0], SoftLogarithm)
    assert torch.isfinite(front.parts[0].units).tolist() == [True, False, False]
    # But for the least of them, they are normal then.
    np.testing.assert_allclose(y[:, 0], normal[:, 0], atol=0.1)


@pytest.mark.parametrize("factor", [1000.0, 1e-7])
def test_units_make_no_difference(rng, factor):
    X = rng.gamma(0.5, size=(500, 3))
    y, _ = mapped(X)
    np.testing.assert_allclose(mapped(factor * X)[0], y, rtol=1e-9, atol=1e-9)


def test_weights_are_copies(rng):
    X = rng.gamma(0.5, size=(200, 3))
    counts = rng.integers(1, 4, size=200)
    weighted, _ = mapped(X, weights=torch.from_numpy(counts.astype(float)))
    repeated, _ = mapped(X.repeat(counts, axis=0))
    np.testing.assert_allclose(weighted.repeat(counts, axis=0), repeated, rtol=1e-9, atol=1e-9)


def test_constant_columns_have_no_tails(rng):
    X = np.column_stack([rng.normal(size=100), np.full(100, 0.3)])
    X[::2, 1] = 0.1 + 0.2  # the same but for rounding
    _, front = mapped(X)
    far = torch.tensor([[0.0, 1e6]], dtype=torch.float64)
    assert float(front.inverse(far)[0, 1]) == pytest.approx(1e6 + 0.3)


def test_without_robustness_it_is_the_plain_one(rng):
    X = rng.gamma(0.5, size=(200, 2))
    X[0] = 1e6
    data = torch.from_numpy(X)
    y = standardization(Rows(data), robust=False)(data)
    np.testing.assert_allclose(y, (X - X.mean(0)) / X.std(0), rtol=1e-10)
