"""The benchmark of imputation, with a stand-in for our estimator, and what it measures."""

import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import skflow


class StandInTable:
    """Stands for our estimator: the columns by themselves, with the entries that are observed."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, frame):
        self.known = {name: column.dropna() for name, column in frame.items()}
        numbers = frame.select_dtypes("number")
        self.numbers, self.mean, self.scale = list(numbers), numbers.mean(), numbers.std()
        return self

    def score_samples(self, frame):
        return norm.logpdf(frame[self.numbers], self.mean, self.scale).sum(1)

    def impute(self, frame, strategy):
        assert strategy == "median"
        return self._filled(frame, lambda known, n: [sorted(known)[len(known) // 2]] * n)

    def sample_given(self, frame, n_samples, random_state):
        rng = np.random.default_rng(random_state)
        rows = frame.loc[frame.index.repeat(n_samples)].reset_index(drop=True)
        return self._filled(rows, lambda known, n: rng.choice(known, n))

    def _filled(self, frame, draw):
        frame = frame.copy()
        for name, known in self.known.items():
            gone = frame[name].isna()
            frame.loc[gone, name] = draw(known.to_numpy(), gone.sum())
        return frame


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
    script, data = import_module("imputation"), import_module("_tables.data")
    for name, value in {"N_TREES": 5, "N_ROUNDS": 2, "N_ROUNDS_OF_MICE": 1, "N_DRAWS": 4}.items():
        monkeypatch.setattr(import_module("_imputation.peers"), name, value)
    data.load.cache_clear()
    monkeypatch.setitem(data.TABLES, "penguins", made_up)
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

    monkeypatch.setattr(sys, "argv", ["imputation", *arguments, "--results", str(tmp_path)])
    script.main()
    return (
        Rows(tmp_path / "imputation.csv", script.FIELDS).rows,
        Rows(tmp_path / "imputation_likelihood.csv", script.LIKELIHOOD_FIELDS).rows,
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_measure(script, monkeypatch, tmp_path, data_dir, capsys):
    names = ["TableFlow", "mean", "chained Bayesian ridge", "nearest rows", "MissForest"]
    arguments = ["measure", "--data-dir", str(data_dir), "--tables", "penguins", "wilt"]
    arguments += ["--seeds", "0", "1", "--only", *names]
    rows, scored = run(script, monkeypatch, tmp_path, *arguments)
    assert [row["estimator"] for row in rows] == 4 * names
    assert {row["status"] for row in rows + scored} == {"ok"}
    assert {row["n_rows"] for row in rows} == {"120", "96"}
    mixed = {row["estimator"]: row for row in rows if row["data"] == "penguins"}
    assert float(mixed["MissForest"]["mae"]) < float(mixed["mean"]["mae"])
    assert (mixed["mean"]["coverage"], mixed["mean"]["error_share"] != "") == ("", True)
    assert {row["error_share"] for row in rows if row["data"] == "wilt"} == {""}
    assert [row["estimator"] for row in scored] == 4 * list(script.LIKELIHOOD_FITS)
    sizes = [int(row["n_rows"]) for row in scored[:3]]
    assert sizes[1] < sizes[0] == sizes[2] == 120
    assert "of what complete rows alone cost" in capsys.readouterr().out
    assert run(script, monkeypatch, tmp_path, *arguments) == (rows, scored)


def test_only_holes_are_filled(script, data_dir):
    from _imputation.data import load_case
    from _imputation.peers import PEERS
    from _tables.task import coded

    case = load_case(data_dir, "penguins", 0)
    assert 0.15 < case.holes.mean() < 0.25
    assert not case.holes.all(1).any()
    assert case.complete.shape[0] == (~case.holes.any(1)).sum()
    truth = coded(case.table, case.full)
    for name in ("TableFlow", "mean", "nearest rows"):
        filled, _, _ = PEERS[name][0](case)
        np.testing.assert_allclose(filled[~case.holes], truth[~case.holes])
        assert set(filled[:, 0]) <= {0.0, 1.0, 2.0}
        np.testing.assert_array_equal(filled[:, 1], filled[:, 1].round())


@pytest.mark.filterwarnings("ignore")  # of packages that are made for older versions
def test_miceforest(script, data_dir):
    pytest.importorskip("miceforest")
    if pytest.importorskip("lightgbm").__version__ >= "4.7":
        pytest.skip("miceforest does not know this version of LightGBM")
    from _imputation.data import load_case
    from _imputation.measure import quality
    from _imputation.peers import PEERS
    from _tables.task import coded

    case = load_case(data_dir, "penguins", 0)
    filled, draws, _ = PEERS["miceforest"][0](case)
    assert draws.shape == (4, *filled.shape)
    truth, kinds = coded(case.table, case.full), list(case.table.kinds.values())
    assert quality(kinds, truth, case.holes, filled, draws)["mae"] < 1


def test_codes_of_categories(script, data_dir):
    from _imputation.data import load_case
    from _imputation.peers import Encoding
    from _tables.task import coded

    case = load_case(data_dir, "penguins", 0)
    X = coded(case.table, case.full)
    encoding = Encoding(case.table, X)
    assert encoding.encode(X).shape[1] == 5
    np.testing.assert_allclose(encoding.decode(encoding.encode(X)), X)


def test_quality(script):
    from _imputation.measure import quality

    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.normal(size=4000) * 3, rng.integers(0, 2, 4000)])
    holes = np.ones_like(truth, bool)
    filled = np.zeros_like(truth)
    draws = np.stack([rng.normal(size=(4000, 2)) * 3 for _ in range(20)])
    found = quality(["continuous", "category"], truth, holes, filled, draws)
    assert found["mae"] == pytest.approx(np.sqrt(2 / np.pi), abs=0.05)
    assert found["error_share"] == pytest.approx(0.5, abs=0.05)
    assert found["wasserstein"] < 0.08
    assert found["coverage"] == pytest.approx(19 / 21, abs=0.03)
    alone = quality(["continuous", "category"], truth, holes, filled, None)
    assert alone["coverage"] == ""
    assert 0.5 < alone["wasserstein"] <= 1.001 * found["mae"]


def test_costs(script):
    holed, complete, full = script.LIKELIHOOD_FITS
    values = {
        "one": {holed: {"0": 0.8, "1": 9.0}, complete: {"0": 0.0}, full: {"0": 1.0, "1": 2.0}},
        "two": {holed: {"0": 1.0}, full: {"0": 1.0}},
    }
    assert script.costs(values) == {"one": pytest.approx(0.2)}
