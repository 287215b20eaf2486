"""The benchmark of mixed tables, with a stand-in for our estimator, and what it measures."""

import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import skflow
from skflow.tables import Categorical, Continuous, Count


class StandInTable:
    """Stands for our estimator: a density of one for every row, whatever its columns are."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, frame):
        self.columns_ = {name: self.kind_of(column.dropna()) for name, column in frame.items()}
        return self

    @staticmethod
    def kind_of(column):
        if not pd.api.types.is_numeric_dtype(column):
            return Categorical()
        return Count() if (column == column.round()).all() else Continuous()

    def score_samples(self, frame, return_error=False):
        holes = frame.isna().any(axis=1).to_numpy()
        return (np.zeros(len(frame)), 0.1 * holes) if return_error else np.zeros(len(frame))


def made_up(holes=False):
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b", "c"], 200)
    tens = 10 * rng.poisson(4, 200)
    width = (rng.normal(size=200) + (kind == "a")).round(2)
    heaped = np.where(rng.uniform(size=200) < 0.3, 0, rng.exponential(size=200)).round(1)
    frame = pd.DataFrame({"kind": kind, "tens": tens, "width": width, "heaped": heaped})
    frame["constant"] = 1
    if holes:
        frame.loc[::7, "width"] = np.nan
    return frame


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(skflow, "TableFlow", StandInTable)
    script, data = import_module("mixed"), import_module("_tables.data")
    data.load.cache_clear()
    monkeypatch.setitem(data.TABLES, "iris", made_up)
    monkeypatch.setitem(data.HOLES, "penguins, with holes", lambda: made_up(holes=True))
    yield script
    data.load.cache_clear()


def run(script, monkeypatch, tmp_path, *arguments):
    from _likelihood.rows import Rows

    monkeypatch.setattr(sys, "argv", ["mixed", *arguments, "--results", str(tmp_path)])
    script.main()
    return Rows(tmp_path / "mixed.csv", script.FIELDS).rows


def test_tables(script, monkeypatch, tmp_path, capsys):
    names = ["TableFlow", "independent"]
    arguments = ["tables", "--tables", "iris", "penguins, with holes", "--splits", "0", "2"]
    rows = run(script, monkeypatch, tmp_path, *arguments, "--only", *names)
    found = [(row["data"], row["split"], row["estimator"]) for row in rows]
    assert found == [
        *(("iris", split, name) for split in "02" for name in names),
        *(("penguins, with holes", split, "TableFlow") for split in "02"),
    ]
    assert {row["status"] for row in rows} == {"ok"}
    kinds = ("n_categories", "n_whole", "n_continuous", "n_rows", "n_test")
    assert {tuple(row[kind] for kind in kinds) for row in rows} == {("1", "2", "1", "160", "40")}
    assert [row["highest_error"] for row in rows[-2:]] == ["0.1", "0.1"]
    assert float(rows[1]["nats"]) < 0 == float(rows[0]["nats"])
    assert "mean ranks over 1 tables: TableFlow 1.00" in capsys.readouterr().out
    again = run(script, monkeypatch, tmp_path, *arguments, "--only", *names)
    assert again == rows  # nothing is measured twice
    run(script, monkeypatch, tmp_path, "summary")
    assert "seconds of a fit" in capsys.readouterr().out


def test_fits_that_fail_have_rows(script, monkeypatch, tmp_path, capsys):
    from _tables.task import Contender, Fitted

    def fail(task):
        raise ValueError("no such density\nand more")

    def hole(task):
        return Fitted(lambda frame: np.where(np.arange(len(frame)) == 0, -np.inf, -2.0))

    contenders = {"broken": Contender(fail, "scipy"), "hole": Contender(hole, "scipy")}
    monkeypatch.setattr(script, "CONTENDERS", contenders)
    broken, hole = run(
        script, monkeypatch, tmp_path, "tables", "--tables", "iris", "--splits", "0"
    )
    assert (broken["status"], broken["nats"]) == ("failed", "")
    assert broken["detail"] == "ValueError: no such density"
    assert (hole["status"], hole["nats"]) == ("infinite", "-inf")
    assert hole["detail"] == "39 of 40 rows are finite, of mean -2.0000"
    assert "broken: failed ValueError: no such density" in capsys.readouterr().out


def test_another_measure_is_refused(script, monkeypatch, tmp_path):
    monkeypatch.setattr(StandInTable, "kind_of", staticmethod(lambda column: Categorical()))
    (row,) = run(
        script,
        monkeypatch,
        tmp_path,
        *("tables", "--tables", "iris", "--splits", "0", "--only", "TableFlow"),
    )
    assert row["status"] == "failed"
    assert "width is found to be Categorical()" in row["detail"]


def test_kinds_and_noise(script):
    from _tables.data import dequantised, load, split

    table = load("iris")
    assert table.kinds == {
        "kind": "category",
        "tens": "whole",
        "width": "continuous",
        "heaped": "whole",
    }
    plain = made_up()
    np.testing.assert_array_equal(10 * table.frame["tens"], plain["tens"])
    np.testing.assert_array_equal(table.frame["heaped"], (10 * plain["heaped"]).round())
    noise = dequantised(table, 1)["width"] - plain["width"]
    assert 0.0045 < noise.abs().max() <= 0.005
    train, test = split(table, 1)
    assert sorted(pd.concat([train, test])["width"]) == sorted(dequantised(table, 1)["width"])


@pytest.mark.parametrize(
    ("name", "package"),
    [("independent", "scipy"), ("vine", "pyvinecopulib"), ("SPFlow", "spflow")],
)
@pytest.mark.filterwarnings("ignore")  # of packages that are made for older versions
def test_densities_add_up_to_one(script, name, package):
    pytest.importorskip(package)
    from _tables.data import described, split
    from _tables.task import Task

    table = described(made_up().drop(columns="heaped"))
    train, _ = split(table, 0)
    fitted = script.CONTENDERS[name].fit(Task(train, table, 0))
    tens = np.arange(-300, 300) if name == "independent" else np.unique(table.frame["tens"])
    sides = [table.levels("kind"), tens, np.linspace(-6, 7, 66)]
    rows = pd.MultiIndex.from_product(sides, names=table.kinds).to_frame(index=False)
    mass = np.exp(fitted.score_samples(rows)).sum() * 0.2
    assert mass == pytest.approx(1, abs=0.02)


@pytest.mark.filterwarnings("ignore")  # of packages that are made for older versions
def test_whole_numbers_of_circuits_have_a_mass(script):
    pytest.importorskip("spflow")
    from _tables.data import described, split
    from _tables.task import Task

    frame = pd.DataFrame(
        {"many": np.random.default_rng(0).poisson(60, 300) * (np.arange(300) % 2)}
    )
    table = described(frame)
    train, _ = split(table, 0)
    fitted = script.CONTENDERS["SPFlow"].fit(Task(train, table, 0))
    log_mass = fitted.score_samples(pd.DataFrame({"many": np.arange(-200, 300)}))
    assert log_mass.max() < 0
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-3)


def test_ranks(script):
    from _tables.summary import mean_ranks, means

    rows = [
        {"data": data, "estimator": name, "split": split, "nats": value}
        for data, name, split, value in [
            *(("one", "a", "0", "1"), ("one", "a", "1", "3"), ("one", "b", "0", "4")),
            *(("two", "a", "0", "1"), ("two", "b", "0", "")),
        ]
    ]
    values = means(rows, "nats")
    assert values["one"] == {"a": {"0": 1.0, "1": 3.0}, "b": {"0": 4.0}}
    assert mean_ranks(values) == ({"a": 1.0, "b": 2.0}, 1)
    assert mean_ranks(values, highest=True) == ({"a": 2.0, "b": 1.0}, 1)
