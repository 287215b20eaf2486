import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import hypergeom, kstest

from skflow.metrics import nearest_row_test
from skflow.metrics import nearest_rows as module


def table(rng, n, *, missing=0.1):
    """Return a frame of independent rows with numbers, categories, a date and holes."""
    town = rng.choice(["A", "B", "C"], size=n, p=[0.5, 0.3, 0.2]).astype(object)
    town[rng.random(n) < missing] = None
    height = rng.normal(170, 10, size=n)
    return pd.DataFrame(
        {
            "height": height,
            "weight": np.where(rng.random(n) < missing, np.nan, height / 2 + rng.normal(size=n)),
            "town": town,
            "kind": pd.Categorical(rng.choice(["x", "y"], size=n)),
            "count": pd.array(rng.integers(0, 20, size=n), dtype="Int64"),
            "day": np.datetime64("2024-01-01") + rng.integers(0, 300, size=n),
        }
    )


def rows_of(frame, rows):
    return frame.iloc[rows].reset_index(drop=True)


def test_copies_are_found():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        fitted, held_out = table(rng, 300), table(rng, 200)
        drawn_again = rows_of(fitted, rng.integers(300, size=150))
        result = nearest_row_test(drawn_again, fitted, held_out, random_state=seed)
        assert result.expected == 0.6
        assert result.statistic > 0.99
        assert result.pvalue < 0.001
        np.testing.assert_array_equal(result.distances, 0)
        assert result.n_copies == 150
        assert result.n_held_out_copies == 0


def test_some_noisy_copies_are_found():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        fitted, held_out, made = table(rng, 400), table(rng, 400), table(rng, 400)
        made.iloc[:160] = fitted.iloc[:160]
        made["height"] += rng.normal(0, 0.1, size=400)
        result = nearest_row_test(made, fitted, held_out, random_state=seed)
        assert result.pvalue < 0.001
        assert result.n_copies == 0
        assert result.distances[:160].max() < result.distances[160:].mean()


@pytest.mark.parametrize("kind", ["frame", "array", "categories"])
def test_pvalues_if_nothing_was_copied(kind):
    def drawn(rng, n):
        if kind == "array":
            return rng.normal(size=(n, 2))
        return table(rng, n) if kind == "frame" else table(rng, n)[["town", "kind"]]

    pvalues = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        # Many synthetic rows to each real one: the real ones alone are what the test counts on.
        made, fitted, held_out = drawn(rng, 300), drawn(rng, 60), drawn(rng, 40)
        pvalues.append(nearest_row_test(made, fitted, held_out, random_state=seed).pvalue)
    assert np.mean(np.array(pvalues) < 0.05) <= 0.13
    if kind != "categories":  # whose p-values are often one, as all rows are tied
        assert kstest(pvalues, "uniform").pvalue > 0.001


def test_rows_in_both_tables_are_of_neither():
    rng = np.random.default_rng(0)
    both = table(rng, 100)
    result = nearest_row_test(both, both, both.sample(frac=1, random_state=0), random_state=0)
    assert result.statistic == pytest.approx(0.5)
    assert result.pvalue > 0.3
    assert result.n_copies == result.n_held_out_copies == 100


def test_gower_distance_by_hand():
    fitted = pd.DataFrame({"a": [0.0, 10, np.nan], "b": ["x", "y", None], "c": [5, 5, 5]})
    made = pd.DataFrame({"a": [2.0, np.nan, 20], "b": ["x", None, "z"], "c": [5, 6, 5]})
    far = pd.DataFrame({"a": [-500.0], "b": ["w"], "c": [7]})
    result = nearest_row_test(made, fitted, far, random_state=0)
    np.testing.assert_allclose(result.distances, [0.2 / 3, 1 / 3, (1 + 1) / 3])
    assert (result.statistic, result.expected) == (1, 0.75)


def test_pvalue_is_that_of_all_permutations():
    # Each real row is nearest to one synthetic row: the statistic is hypergeometric.
    real = np.arange(20.0)[:, None]
    fitted, held_out = real[:12], real[12:]
    made = np.concatenate([fitted[:9], held_out[:1]]) + 0.1
    result = nearest_row_test(made, fitted, held_out, random_state=0)
    assert result.statistic == pytest.approx(0.9)
    assert result.pvalue == pytest.approx(hypergeom.sf(8, 20, 12, 10), abs=0.02)


def test_frames_of_other_libraries():
    rng = np.random.default_rng(0)
    tables = [table(rng, n) for n in (80, 100, 90)]
    expected = nearest_row_test(*tables, random_state=0)
    others = [
        pl.DataFrame(
            {name: list(Z[name].astype(object).where(Z[name].notna(), None)) for name in Z}
        )
        for Z in tables
    ]
    result = nearest_row_test(*others, random_state=0)
    assert (result.statistic, result.pvalue) == (expected.statistic, expected.pvalue)
    np.testing.assert_allclose(result.distances, expected.distances)


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    tables = [table(rng, n) for n in (80, 100, 90)]
    expected = nearest_row_test(*tables, random_state=0)
    monkeypatch.setattr(module, "_BLOCK", 1000)
    result = nearest_row_test(*tables, random_state=0)
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.pvalue == expected.pvalue
    np.testing.assert_allclose(result.distances, expected.distances)


def test_random_state_determines_the_pvalue():
    rng = np.random.default_rng(0)
    tables = rng.normal(size=(3, 50, 2))
    first, again, other = (nearest_row_test(*tables, random_state=s).pvalue for s in (3, 3, 4))
    assert first == again != other


def test_errors():
    X = np.zeros((10, 2))
    frame = pd.DataFrame(X, columns=["a", "b"])
    with pytest.raises(ValueError, match="features"):
        nearest_row_test(X[:, :1], X, X)
    with pytest.raises(ValueError, match="held_out must have a row"):
        nearest_row_test(frame, frame, frame[:0])
    with pytest.raises(ValueError, match="feature names"):
        nearest_row_test(frame[["b", "a"]], frame, frame)
