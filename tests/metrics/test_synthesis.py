import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skflow.metrics import drift, nearest_row_test, synthesis_report


@pytest.fixture
def sdmetrics():
    # No part of the extra "test", as it holds pandas back: `tox run -e synthesis` has it.
    return pytest.importorskip("sdmetrics")


def table(rng, n=200, *, mean=170.0, missing=0.1):
    """Return a frame with numbers that depend on each other, categories, bools, dates, holes."""
    height = rng.normal(mean, 10, size=n)
    town = rng.choice(["A", "B"], size=n).astype(object)
    town[rng.random(n) < missing] = None
    return pd.DataFrame(
        {
            "height": height,
            "weight": np.where(rng.random(n) < missing, np.nan, height / 2 + rng.normal(size=n)),
            "town": town,
            "kind": pd.Categorical(rng.choice(["x", "y"], size=n)),
            "count": pd.array(rng.integers(0, 20, size=n), dtype="Int64"),
            "member": rng.random(n) < 0.5,
            "paid": pd.array(np.where(rng.random(n) < 0.5, True, None), dtype="boolean"),
            "day": np.datetime64("2024-01-01") + rng.integers(0, 300, size=n),
            "nothing": 1,
        }
    )


def test_draws_of_the_same_distribution(sdmetrics):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        made, fitted, held_out = (table(rng) for _ in range(3))
        report = synthesis_report(made, fitted, held_out, random_state=seed)
        assert report.columns == list(fitted)
        assert (report.column_shape > 0.75).all()
        assert (report.column_validity > 0.95).all()
        assert report.column_shapes == pytest.approx(report.column_shape.mean())
        assert report.column_pair_trends > 0.8
        assert report.quality > 0.85
        assert report.drift.statistic < 0.65
        assert report.drift.pvalue > 1e-4
        assert report.nearest_rows.pvalue > 1e-4


def test_what_is_wrong_is_seen(sdmetrics):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        fitted, held_out = table(rng), table(rng)
        moved = table(rng, mean=200)
        moved["kind"] = rng.choice(["x", "z"], size=len(moved))
        moved["weight"] = rng.permutation(moved["weight"])
        report = synthesis_report(moved, fitted, held_out, random_state=seed)
        by_column = pd.DataFrame(
            {"shape": report.column_shape, "validity": report.column_validity}, report.columns
        )
        assert by_column["shape"]["height"] < 0.4
        assert by_column["shape"]["count"] > 0.75
        assert by_column["validity"]["kind"] < 0.7
        assert by_column["validity"]["height"] < 0.9
        assert report.validity == pytest.approx(report.column_validity.mean())
        assert report.column_pair_trends < 0.7
        assert report.drift.pvalue < 1e-4

        copied = synthesis_report(fitted, fitted, held_out, random_state=seed)
        assert copied.quality == copied.validity == 1
        assert copied.drift.statistic < 0.65
        assert copied.nearest_rows.pvalue < 1e-3
        assert copied.nearest_rows.n_copies == len(fitted)


def test_parts_are_those_of_their_functions(sdmetrics):
    rng = np.random.default_rng(0)
    tables = [table(rng) for _ in range(3)]
    report = synthesis_report(*tables, random_state=np.random.RandomState(3))
    again = np.random.RandomState(3)
    expected = drift(tables[2], tables[0], random_state=again)
    assert report.drift.statistic == expected.statistic
    nearest = nearest_row_test(*tables, random_state=again)
    assert report.nearest_rows.pvalue == nearest.pvalue

    alone = synthesis_report(*tables[:2], random_state=3)
    assert alone.nearest_rows is None
    assert alone.quality == report.quality
    assert alone.drift.statistic == drift(tables[1], tables[0], random_state=3).statistic


def test_it_is_read(sdmetrics):
    rng = np.random.default_rng(0)
    fitted, held_out = table(rng), table(rng)
    lines = str(synthesis_report(fitted, fitted, held_out, random_state=0)).splitlines()
    assert lines[0].split() == ["quality", "1.00"]
    assert "copies 200 0 of the rows that were held out" in [" ".join(s.split()) for s in lines]
    assert lines[-1].split() == ["nothing", "1.00", "1.00"]
    assert "nearest" not in str(synthesis_report(fitted, fitted, random_state=0))


def test_arrays_and_polars(sdmetrics):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 100, 2))
    report = synthesis_report(X, Y, random_state=0)
    assert report.columns == [0, 1]
    assert np.isnan(report.column_pair_trends)  # no two columns depend on each other
    frames = [pl.DataFrame(Z, schema=["a", "b"]) for Z in (X, Y)]
    named = synthesis_report(*frames, random_state=0)
    assert named.columns == ["a", "b"]
    assert named.quality == report.quality


def test_without_sdmetrics():
    # In a process of its own, where it cannot be imported.
    code = (
        "import sys; sys.modules['sdmetrics'] = None\n"
        "import numpy as np; from skflow.metrics import synthesis_report\n"
        "try: synthesis_report(np.zeros((9, 2)), np.zeros((9, 2)))\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "synthesis_report needs SDMetrics" in done.stdout
    assert "extra 'synthesis'" in done.stdout
