"""One warning names the columns that a density does not suit."""

import warnings

import numpy as np
import pytest
import torch

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.estimators.columns import constant_and_named
from skflow.exceptions import ColumnWarning
from skflow.preprocessing import DequantizationTransformer
from skflow.training.rows import Rows

HONEST = {
    "normal": lambda rng, n: rng.normal(size=(n, 3)),
    "uniform": lambda rng, n: rng.uniform(size=(n, 3)),
    "lognormal": lambda rng, n: np.exp(rng.normal(size=(n, 3))),
    "lognormal, sigma 3": lambda rng, n: np.exp(3 * rng.normal(size=(n, 3))),
    "power": lambda rng, n: 1 + rng.pareto(1.5, size=(n, 3)),
    # Bounded, so that the test holds for any seed: one in 500 columns of 2,000 rows is named.
    "Student's t": lambda rng, n: np.clip(rng.standard_t(3, size=(n, 3)), -60, 60),
    "seen by pixels": lambda rng, n: rng.uniform(size=(n, 3)) + 16 * (rng.random((n, 3)) < 0.04),
}


def said(X, sample_weight=None):
    """Return the warning about columns of rows that are fitted to."""
    weights = None if sample_weight is None else torch.as_tensor(sample_weight)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        constant_and_named(Rows(torch.as_tensor(X), weights=weights), str, stacklevel=1)
    assert len(caught) <= 1
    return str(caught[0].message) if caught else ""


@pytest.mark.parametrize("n", [2, 30, 200, 2000, 20_000])
@pytest.mark.parametrize("name", HONEST)
def test_honest_tails_are_not_named(name, n, rng):
    assert said(HONEST[name](rng, n)) == ""


@pytest.mark.parametrize("n", [100, 2000, 40_000])
@pytest.mark.parametrize("value", [-9999.0, 1e5, 1e300])
@pytest.mark.parametrize("n_far", [1, "3 %"])
def test_extreme_values_are_named(n, value, n_far, rng):
    X = rng.normal(size=(n, 3))
    X[rng.permutation(n)[: n_far if n_far == 1 else 3 * n // 100], 1] = value
    message = said(X)
    assert f"variance: 1 ({value:.4g}). Remove" in message
    assert "no density" not in message


def test_extreme_values_of_positive_columns_are_named(rng):
    ages = rng.uniform(18, 90, size=(1000, 1))
    assert said(ages) == ""
    ages[3] = 99_999
    assert "0 (1e+05)" in said(ages)


def test_rows_without_weight_do_not_count(rng):
    X = rng.normal(size=(300, 2))
    X[0] = 1e6
    assert "1e+06" in said(X, np.ones(300))
    assert said(X, np.r_[1e-9, np.ones(299)]) == said(X[1:], np.ones(299)) == ""
    sample_weight = np.r_[0, np.ones(299)]
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0)
    assert np.isfinite(flow.fit(X, sample_weight=sample_weight).score(X[1:]))


@pytest.mark.parametrize("n", [200, 2000, 40_000])
def test_a_value_in_many_rows_is_named(n, rng):
    X = rng.normal(size=(n, 3))
    some = rng.permutation(n)
    X[some[: int(0.04 * n)], 0] = 0.5
    X[some[: int(0.07 * n)], 2] = -0.25
    message = said(X)
    assert "One value in more than 5% of the rows: 2 (-0.25 in" in message
    assert "0.5 in" not in message
    assert "DequantizationTransformer" in message


def test_a_value_in_less_than_ten_rows_is_not_named(rng):
    X = rng.normal(size=(30, 1))
    X[:9] = 1
    assert said(X) == ""
    X[:10] = 1
    assert "(1 in 33%)" in said(X)


def test_what_the_warning_says_helps(rng):
    lengths = rng.normal(5, 1, size=(500, 2)).round(1)
    assert "One value" in said(np.where(lengths > 5, lengths, 5))
    lengths = DequantizationTransformer(0.1, random_state=0).fit_transform(lengths)
    assert said(lengths) == ""


def test_names_are_used_and_long_lists_are_cut(rng):
    pd = pytest.importorskip("pandas")
    X = rng.normal(size=(100, 12))
    X[0, :11] = 1e5
    X[:20, 11] = 0
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(12)])
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0)
    with pytest.warns(ColumnWarning) as caught:
        flow.fit(frame)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    message = str(caught[0].message)
    assert "column 11 ('x11') (0 in 20%)" in message
    assert "column 9 ('x9') (1e+05) and 1 more." in message


def test_layers_that_do_not_learn_their_activations_are_warned_of_as_well(rng):
    X = rng.normal(size=(100, 2))
    X[0, 0] = 1e5
    flow = RelativeGradientFlow(1, activation="leaky_tanh", max_iter=1, random_state=0)
    with pytest.warns(ColumnWarning, match="column 0"):
        flow.fit(X)
    with pytest.warns(ColumnWarning, match="column 0"):
        RelativeGradientFlow(1, max_iter=1, random_state=0).partial_fit(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("cv", [None, 3, [(np.arange(150), np.arange(150, 200))]])
def test_targets_are_named_once_at_the_line_of_the_user(method, cv, rng):
    X, counts = rng.normal(size=(200, 2)), rng.integers(0, 3, size=200)
    flow = ConditionalFlow(n_trees=0, max_iter=1, cv=cv, random_state=0)
    with pytest.warns(ColumnWarning, match="Columns of y .*: column 0") as caught:
        getattr(flow, method)(X, counts)
    assert [warning.filename for warning in caught] == [__file__]
