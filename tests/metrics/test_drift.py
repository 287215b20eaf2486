import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import kstest
from sklearn.linear_model import LogisticRegression

from skflow.metrics import classifier_two_sample_test, drift


def table(rng, n=400, *, mean=0.0, shares=(0.5, 0.3, 0.2), missing=0.1, dependence=0.0, late=0):
    """Return a frame with a number, one that depends on it, a category, holes, and a date."""
    first, second = rng.normal(size=(2, n))
    second = dependence * first + np.sqrt(1 - dependence**2) * second
    holes = np.where(rng.random(n) < missing, np.nan, rng.normal(size=n))
    town = rng.choice(["A", "B", "C"], size=n, p=shares).astype(object)
    town[rng.random(n) < missing] = None
    day = np.datetime64("2024-01-01") + rng.integers(late, 300 + late, size=n)
    return pd.DataFrame(
        {
            "first": first + mean,
            "second": second,
            "holes": holes,
            "town": town,
            "kind": pd.Categorical(rng.choice(["x", "y"], size=n)),
            "count": pd.array(rng.integers(0, 20, size=n), dtype="Int64"),
            "day": day,
        }
    )


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"mean": 0.7}, ["first"]),
        ({"shares": (0.1, 0.2, 0.7)}, ["town"]),
        ({"missing": 0.5}, ["holes", "town"]),
        ({"late": 200}, ["day"]),
        ({"dependence": 0.95}, []),
    ],
    ids=str,
)
def test_the_columns_that_moved_are_named(change, moved):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        result = drift(table(rng), table(rng, **change), random_state=seed)
        assert result.pvalue < 1e-4
        assert result.statistic > 0.55
        named = {
            column
            for column, pvalue in zip(result.columns, result.column_pvalue, strict=True)
            if pvalue < 1e-4
        }
        assert named == set(moved)


def test_pvalues_if_nothing_has_changed():
    rng = np.random.default_rng(0)
    results = [drift(table(rng, 200), table(rng, 150), random_state=seed) for seed in range(60)]
    assert kstest([result.pvalue for result in results], "uniform").pvalue > 0.001
    by_column = np.array([result.column_pvalue for result in results])
    # None is too often low, and those of continuous numbers and of categories are uniform.
    assert (np.mean(by_column < 0.05, axis=0) < 0.13).all()
    for j in (0, 3):
        assert kstest(by_column[:, j], "uniform").pvalue > 0.001


def test_known_statistics():
    X = pd.DataFrame({"a": [0.0, 1, 2, 3] * 25, "b": ["x", "x", "y", None] * 25})
    Y = pd.DataFrame({"a": [0.0, 1, 2, np.nan] * 25, "b": ["x", "y", "y", "y"] * 25})
    result = drift(X, Y, random_state=0)
    np.testing.assert_allclose(result.column_statistic, [0.25, 0.5])
    assert result.columns == ["a", "b"]
    same = drift(X, X, random_state=0)
    np.testing.assert_array_equal(same.column_statistic, [0, 0])
    np.testing.assert_allclose(same.column_pvalue, [1, 1])


def test_arrays_are_compared_as_by_the_classifier_test(rng):
    X, Y = rng.normal(size=(2, 100, 3))
    for classifier in (None, LogisticRegression()):
        result = drift(X, Y, classifier=classifier, random_state=0)
        expected = classifier_two_sample_test(X, Y, classifier=classifier, random_state=0)
        assert (result.statistic, result.pvalue) == (expected.statistic, expected.pvalue)
    assert result.columns == [0, 1, 2]


def test_frames_of_other_libraries(rng):
    X, Y = table(rng), table(rng, mean=0.5)
    expected = drift(X, Y, random_state=0)
    first, second = (
        pl.DataFrame(
            {name: list(Z[name].astype(object).where(Z[name].notna(), None)) for name in Z}
        )
        for Z in (X, Y)
    )
    result = drift(first, second, random_state=0)
    assert result.columns == expected.columns
    np.testing.assert_allclose(result.column_pvalue, expected.column_pvalue)
    assert (result.statistic, result.pvalue) == (expected.statistic, expected.pvalue)


def test_rare_levels_and_missing_columns(rng):
    def many(n_levels):
        levels = rng.integers(n_levels, size=1000).astype(str)
        return pd.DataFrame({"id": levels, "empty": [None] * 1000, "constant": ["a"] * 1000})

    result = drift(many(900), many(900), random_state=0)
    assert result.pvalue > 0.001
    np.testing.assert_array_equal(result.column_pvalue[1:], 1)
    np.testing.assert_array_equal(result.column_statistic[1:], 0)
    assert result.column_pvalue[0] > 0.001
    moved = drift(many(900), many(300), random_state=0)
    assert moved.pvalue < 1e-4
    assert moved.column_pvalue[0] < 1e-4


def test_random_state_determines_the_result(rng):
    X, Y = rng.normal(size=(2, 100, 2))
    first, again, other = (drift(X, Y, random_state=seed) for seed in (3, 3, 4))
    assert first.statistic == again.statistic != other.statistic
    np.testing.assert_array_equal(first.column_pvalue, other.column_pvalue)


def test_errors(rng):
    X = rng.normal(size=(10, 2))
    frame = pd.DataFrame(X, columns=["a", "b"])
    with pytest.raises(ValueError, match="at least 5 rows each, got 10 in X and 4 in Y"):
        drift(X, X[:4])
    with pytest.raises(ValueError, match="n_folds == 1, must be >= 2"):
        drift(X, X, n_folds=1)
    with pytest.raises(ValueError, match="features"):
        drift(X, X[:, :1])
    with pytest.raises(ValueError, match="feature names"):
        drift(frame, frame[["b", "a"]])
    with pytest.raises(ValueError, match=r"column 1 \('b'\) holds a number in X and a category"):
        drift(frame, frame.assign(b="text"))
