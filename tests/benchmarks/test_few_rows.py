"""The benchmark on tables of few rows, at sizes that mean nothing, and what its summary says."""

import sys
from importlib import import_module

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

import skflow


class Ensemble(GaussianMixture):
    """Stands for our ensemble, and takes no time to speak of."""


def load_table(data_dir, name, seed=0):
    rows = np.random.default_rng(seed).normal(size=(120, 3)).astype(np.float32)
    return np.split(rows, [100, 110])


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    script = import_module("few_rows")
    from _likelihood.contenders import skflow_contender

    fast = script.FEW_ROWS_CONTENDERS | {
        "skflow": skflow_contender(max_iter=1, early_stopping=False)
    }
    monkeypatch.setattr(script, "FEW_ROWS_CONTENDERS", fast)
    monkeypatch.setattr(script, "load_table", load_table)
    monkeypatch.setattr(skflow, "DensityEnsemble", Ensemble, raising=False)
    return script


def run(script, monkeypatch, tmp_path, *arguments):
    from _likelihood.rows import Rows

    monkeypatch.setattr(sys, "argv", ["few_rows", "--results", str(tmp_path), *arguments])
    script.main()
    return Rows(tmp_path / "few_rows.csv", script.FIELDS).rows


def test_few_rows(script, monkeypatch, tmp_path, capsys):
    names = [name for name in script.FEW_ROWS_CONTENDERS if name != "VineDensity"]
    arguments = ["--data-dir", "of no need", "--sets", "iris", "vowels"]
    arguments += ["--sizes", "50", "100", "--seeds", "0", "1", "--only", *names]
    rows = run(script, monkeypatch, tmp_path, *arguments)
    assert [row["estimator"] for row in rows[:5]] == names
    # Of 120 rows, 100 would leave too few to score.
    assert {row["data"]: row["n_rows"] for row in rows} == {"iris": "120", "vowels, 50 rows": "50"}
    assert {row["n_test"] for row in rows} == {"30", "70"}
    assert {row["status"] for row in rows} == {"ok"}
    gaussian = [row["test_nats"] for row in rows if row["estimator"] == script.SHRUNK_GAUSSIAN]
    assert len(set(gaussian)) == 4  # each split is another

    printed = capsys.readouterr().out
    assert "skflow ensemble: " in printed
    assert printed.count("of 2 cases") == 2 * (len(names) - 1)
    # Nothing is fitted twice.
    assert run(script, monkeypatch, tmp_path, *arguments) == rows
    assert run(script, monkeypatch, tmp_path, "--summary") == rows
    assert capsys.readouterr().out.endswith(printed[printed.index("\nmean nats") :])


def test_tables_need_a_folder(script, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(script, monkeypatch, tmp_path, "--sets", "wine", "vowels")
    assert "--data-dir is needed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_summary_compares_splits_that_both_have(script, capsys):
    def row(data, estimator, seed, nats, status="ok"):
        keys = {"data": data, "estimator": estimator, "seed": seed, "status": status}
        return {**keys, "terms": "own", "test_nats": nats, "n_features": "2", "fit_seconds": "3"}

    gaussian = script.SHRUNK_GAUSSIAN
    script.summarize(
        [
            row("a", "skflow", "0", "-1.0"),
            row("a", "skflow", "1", "-99.0"),
            row("a", gaussian, "0", "-2.0"),
            row("b", "skflow", "0", "-3.0"),
            row("b", gaussian, "0", "-2.5"),
            row("b", "KernelDensity", "0", "", "failed"),
        ]
    )
    _, head, first, below, second = capsys.readouterr().out.splitlines()
    assert head == "skflow: 3.0 s in the mean, 3.0 s at most"
    assert "1 of 2 cases (50%), least -0.250 nats per column on b" in first
    assert below.strip() == "below it: b -0.250"
    assert "1 of 1 cases (100%), least +inf" in second


def test_bundled_sets_are_split():
    from _data import BUNDLED, load_bundled

    train, test = load_bundled("digits", 0)
    assert train.shape == (1437, 64)
    assert len(test) == 360
    assert (train != train.round()).any(0).all()  # dequantised
    assert not np.array_equal(load_bundled("wine", 0)[1], load_bundled("wine", 1)[1])
    assert len(BUNDLED) == 5


def test_shrunk_gaussian_is_the_density_of_its_covariance(rng):
    from _likelihood.classical import ShrunkGaussian

    X = rng.normal(size=(20, 3)) * [1, 2, 3]
    fitted = ShrunkGaussian().fit(X)
    covariance = fitted.covariance_.covariance_
    centred = X - X.mean(0)
    slow = [
        -0.5 * (x @ np.linalg.inv(covariance) @ x)
        - 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
        for x in centred
    ]
    np.testing.assert_allclose(fitted.score_samples(X), slow)


def test_the_bic_chooses_the_kind_of_covariances(rng):
    from _likelihood.classical import GaussianMixtureBIC

    X = rng.normal(size=(60, 8))
    kinds = ("full", "tied", "diag", "spherical")
    mixture = GaussianMixtureBIC(0, covariances=kinds).fit(X)
    assert mixture.detail_ == "1 components, spherical"
    assert mixture.n_parameters_ == 9
    full = GaussianMixtureBIC(0).fit(X)
    assert full.n_parameters_ == 8 + 36
    assert full.mixture_.bic(X) > mixture.mixture_.bic(X)
