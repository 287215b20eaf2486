"""Some random fits, and the Gaussian that they are compared with."""

import sys
from importlib import import_module

import numpy as np
import pytest
from scipy.stats import multivariate_normal


@pytest.fixture
def fits():
    return import_module("_reliability.fits")


def test_the_campaign(fits, monkeypatch, tmp_path, capsys):
    script = import_module("reliability")
    monkeypatch.setattr(
        sys, "argv", ["", "fits", "--fits", "6", "--seed", "5", "--results", str(tmp_path)]
    )
    script.main()
    printed = capsys.readouterr().out
    assert "6 fits" in printed
    assert "outcome: failed" not in printed
    assert "outcome: not finite" not in printed
    lines = (tmp_path / "reliability_fits.csv").read_text(encoding="utf-8").splitlines()
    assert sum(not line.startswith("#") for line in lines) == 7


def test_the_gaussian_is_that_of_the_rows(fits, rng):
    train = rng.normal(size=(20_000, 2)) @ [[2.0, 1.0], [0.0, 0.1]]
    expected = multivariate_normal(train.mean(0), np.cov(train.T)).logpdf(train[:50])
    scale = 1e-9
    found = fits.gaussian_log_density(scale * train, scale * train[:50])
    np.testing.assert_allclose(found, expected - 2 * np.log(scale), atol=1e-3)


def test_constant_columns_have_unit_variance(fits, rng):
    train = np.c_[rng.normal(size=30), np.full(30, 7.0)]
    alone = fits.gaussian_log_density(train[:, :1], train[:5, :1])
    both = fits.gaussian_log_density(train, train[:5] + np.array([0, 1]))
    np.testing.assert_allclose(both, alone - 0.5 * np.log(2 * np.pi) - 0.5)


def test_every_table_is_finite(fits):
    tables = import_module("_reliability.random_tables").TABLES
    for name, made_by in tables.items():
        for shape in ((2, 1), (5, 4), (8, 20)):
            X = made_by(np.random.default_rng(0), *shape)
            assert X.shape == shape, name
            assert np.isfinite(X).all(), name
