"""Ridge regression with leave-one-out residuals, beside scikit-learn's and by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from skflow.training import regression
from skflow.training.regression import ridge_regression


def test_many_rows_have_the_coefficients_of_least_squares(rng):
    c = rng.normal(size=(2000, 4))
    y = c @ rng.normal(size=(4, 2)) + 3 + 0.1 * rng.normal(size=(2000, 2)) @ [[1, 0.9], [0, 0.5]]
    found = ridge_regression(torch.from_numpy(c), torch.from_numpy(y))
    plain = LinearRegression().fit(c, y)
    np.testing.assert_allclose(found.coefficients, plain.coef_, atol=1e-3)
    np.testing.assert_allclose(found.intercepts, plain.intercept_, atol=1e-3)
    z = found(torch.from_numpy(np.c_[c, y]))[:, 4:].numpy()
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.03)


def test_residuals_are_those_of_rows_that_were_left_out(rng, monkeypatch):
    penalty = 0.2
    monkeypatch.setattr(regression, "_PENALTIES", torch.tensor([penalty], dtype=torch.float64))
    c, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 1))
    c -= c.mean(0)  # so that the mean that is left out hardly matters
    found = ridge_regression(torch.from_numpy(c), torch.from_numpy(y))
    strength = penalty * np.linalg.eigvalsh(c.T @ c).max()
    residuals = [
        (y[i] - Ridge(strength).fit(np.delete(c, i, 0), np.delete(y, i, 0)).predict(c[[i]])).item()
        for i in range(30)
    ]
    assert float(found.whitening) ** -2 == pytest.approx(np.mean(np.square(residuals)), rel=0.02)


def test_counts_are_repeated_rows(rng):
    c, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 1))
    counts = rng.integers(1, 4, size=50)
    weighted = ridge_regression(
        torch.from_numpy(c), torch.from_numpy(y), torch.from_numpy(counts).double()
    )
    repeated = ridge_regression(*(torch.from_numpy(x.repeat(counts, 0)) for x in (c, y)))
    torch.testing.assert_close(weighted.coefficients, repeated.coefficients, atol=0.1, rtol=0)


def test_more_columns_than_rows_are_shrunk(rng):
    c, y = rng.normal(size=(20, 100)), rng.normal(size=(20, 1))
    found = ridge_regression(torch.from_numpy(c), torch.from_numpy(y))
    assert 0.5 < float(found.whitening) ** -1 < 2


def test_what_the_context_determines_keeps_some_spread(rng):
    c = torch.from_numpy(rng.normal(size=(200, 2)))
    found = ridge_regression(c, c[:, :1])
    assert 1e-4 <= float(found.whitening) ** -1 < 1e-3
