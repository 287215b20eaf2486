"""The benchmark of synthetic tables, with a stand-in for our estimator, and what it measures."""

import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance

import skflow


class StandInTable:
    """Stands for our estimator: draws each column by itself."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, frame):
        self.frame = frame
        return self

    def sample(self, n_samples, random_state):
        rng = np.random.default_rng(random_state)
        return pd.DataFrame({name: rng.choice(self.frame[name], n_samples) for name in self.frame})


def made_up():
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b", "c"], 150, p=[0.5, 0.3, 0.2])
    width = rng.normal(size=150) + 5 * (kind == "a")
    return pd.DataFrame(
        {"kind": kind, "count": rng.poisson(9, 150), "width": width, "twice": 2 * width}
    )


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(skflow, "TableFlow", StandInTable)
    script, data = import_module("synthesis"), import_module("_tables.data")
    data.load.cache_clear()
    monkeypatch.setitem(data.TABLES, "penguins", made_up)
    where = np.arange(600).reshape(150, 4) % 9 == 0
    monkeypatch.setitem(data.HOLES, "penguins, with holes", lambda: made_up().mask(where))
    yield script
    data.load.cache_clear()


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "tabular").mkdir()
    X = np.random.default_rng(0).normal(size=(120, 3)) @ np.ones((3, 3))
    np.savez(tmp_path / "tabular" / "wilt.npz", X=X + 0.1 * X[::-1], y=np.zeros(120))
    return tmp_path


def run(script, monkeypatch, tmp_path, *arguments):
    from _likelihood.rows import Rows
    from _synthesis.run import FIELDS

    monkeypatch.setattr(sys, "argv", ["synthesis", *arguments, "--results", str(tmp_path)])
    script.main()
    return Rows(tmp_path / "synthesis.csv", FIELDS).rows


def test_run(script, data_dir, monkeypatch, tmp_path, capsys):
    from _synthesis.peers import PEERS

    def fail(case):
        raise RuntimeError("no synthesis today")

    def always_the_first(case):
        return lambda n_rows, seed: case.fitted.loc[[0] * n_rows], "a row"

    monkeypatch.setitem(PEERS, "vine", (fail, "scipy"))
    monkeypatch.setitem(PEERS, "TVAE", (always_the_first, "scipy"))
    names = ["TableFlow", "real rows", "fitted rows drawn again", "vine", "TVAE"]
    tables = ["penguins", "penguins, with holes", "wilt"]
    arguments = ["measure", "--data-dir", str(data_dir), "--tables", *tables, "--only", *names]
    rows = run(script, monkeypatch, tmp_path, *arguments)
    assert len(rows) == 5 + 3 + 5  # peers take no holes
    by_name = {(row["data"], row["estimator"]): row for row in rows}
    assert by_name["wilt", "vine"]["status"] == "failed"
    assert "no synthesis today" in by_name["wilt", "vine"]["detail"]
    found = by_name["penguins", "TableFlow"]
    assert (found["n_rows"], found["n_held_out"]) == ("90", "30")
    for data in tables:
        copied = by_name[data, "fitted rows drawn again"]
        assert float(copied["nearest_fitted"]) > 0.9
        assert float(copied["nearest_pvalue"]) < 0.01
        assert float(by_name[data, "TableFlow"]["outside"]) == 0
        assert float(by_name[data, "TableFlow"]["fit_seconds"]) >= 0
    # Columns by themselves are told from those that depend on each other.
    assert float(found["area"]) > 0.7
    assert float(found["wasserstein"]) > float(by_name["penguins", "real rows"]["wasserstein"])
    assert "mean ranks over 2 tables: TableFlow 1.00, TVAE 2.00" in capsys.readouterr().out
    assert run(script, monkeypatch, tmp_path, *arguments) == rows


def test_wasserstein_distance(script, data_dir):
    from _synthesis.data import load_case
    from _synthesis.measure import wasserstein

    case = load_case(data_dir, "penguins", 0)
    rows = case.fitted
    assert wasserstein(case, rows, rows[::-1]) == 0
    # Of one column, it is that of the sorted rows; of categories, the total variation distance.
    other = rows.assign(width=np.random.default_rng(0).normal(size=len(rows)))
    unit = np.ptp(rows["width"])
    own = {name: kind for name, kind in case.table.kinds.items() if name == "width"}
    part = type(case)(type(case.table)(rows, own, {}), *[rows] * 3, 0, "penguins")
    expected = wasserstein_distance(rows["width"] / unit, other["width"] / unit)
    assert wasserstein(part, rows, other) == pytest.approx(expected)
    one = rows.assign(kind="b")
    assert wasserstein(case, rows[["kind"]].join(one.drop(columns="kind")), one) == pytest.approx(
        (rows["kind"] != "b").mean()
    )


def test_rows_outside(script, data_dir):
    from _synthesis.data import load_case
    from _synthesis.measure import outside

    case = load_case(data_dir, "penguins", 0)
    rows = case.fitted.astype({"count": float})[:6].copy()
    rows.loc[0, "kind"] = "z"
    rows.loc[1, "count"] = -1
    rows.loc[2, "count"] = 1.5
    rows.loc[3, "width"] = np.inf
    rows.loc[4, "width"] = np.nan
    assert outside(case, rows).tolist() == [True] * 5 + [False]


def test_codes_and_the_time_of_forest_flow(script, data_dir):
    from _likelihood.task import Unattainable
    from _synthesis.data import load_case
    from _synthesis.trees import Codes, affordable

    case = load_case(data_dir, "penguins", 0)
    codes = Codes(case)
    again = codes.decode(codes.encode(case.fitted))
    pd.testing.assert_frame_equal(again, case.fitted, check_dtype=False)
    assert affordable(3, 4) == (50, 100)
    assert affordable(3, 13) == (17, 34)
    with pytest.raises(Unattainable, match="take too long"):
        affordable(2, 47)


def test_a_distance_below_that_of_real_rows_is_no_better():
    summary = import_module("_synthesis.summary")
    found = {"TableFlow": "1.1", "copier": "0.5", "real rows": "1.0", "failed": ""}
    rows = [
        {"data": "iris", "seed": "0", "estimator": name, "wasserstein": value}
        for name, value in found.items()
    ]
    gaps = {row["estimator"]: row["wasserstein"] for row in summary.from_real_rows(rows)}
    assert gaps == pytest.approx({"TableFlow": 0.1, "copier": 0.5, "real rows": 0})
    ranks, n_tables = summary.ranks_of(summary.from_real_rows(rows), "wasserstein")
    assert ranks == {"TableFlow": 1, "copier": 2}
    assert n_tables == 1
    assert summary.from_real_rows(rows[:2]) == []


def test_a_summary_without_real_rows(script, data_dir, monkeypatch, tmp_path, capsys):
    arguments = ["measure", "--data-dir", str(data_dir), "--tables", "wilt", "--only", "TableFlow"]
    assert len(run(script, monkeypatch, tmp_path, *arguments)) == 1
    assert "by how far" not in capsys.readouterr().out
