"""The benchmark on densities of one column, at sizes that mean nothing, and what it measures."""

import sys
from importlib import import_module

import numpy as np
import pytest

from skflow.datasets import UnivariateNormalMixture, marron_wand


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    script = import_module("margins")
    from _likelihood.contenders import skflow_contender

    fast = script.MARGIN_CONTENDERS | {
        "skflow": skflow_contender(max_iter=1, early_stopping=False)
    }
    for name, value in {"MARGIN_CONTENDERS": fast, "N_TEST": 20, "SPACING": 0.01}.items():
        monkeypatch.setattr(script, name, value)
    return script


def run(script, monkeypatch, tmp_path, *arguments):
    from _likelihood.rows import Rows

    monkeypatch.setattr(sys, "argv", ["margins", "--results", str(tmp_path), *arguments])
    script.main()
    return Rows(tmp_path / "margins.csv", (*script.FIELDS, *script.JUDGED)).rows


def test_margins(script, monkeypatch, tmp_path, capsys):
    only = ["--only", "skflow", "KernelDensity", "GaussianMixture"]
    small = ["--sizes", "60", "--seeds", "0", "1", "--densities", "Gaussian", "claw", *only]
    rows = run(script, monkeypatch, tmp_path, *small)
    assert len(rows) == 2 * 2 * 3
    assert [row["estimator"] for row in rows[:3]] == only[1:]
    assert {row["data"] for row in rows} == {"Gaussian, 60 rows", "claw, 60 rows"}
    assert {row["status"] for row in rows} == {"ok"}
    assert all(float(row["divergence"]) > 0 for row in rows)
    assert all(float(row["mass"]) == pytest.approx(1, abs=0.01) for row in rows)
    # Each seed has rows of its own.
    kernels = [row["test_nats"] for row in rows if row["estimator"] == "KernelDensity"]
    assert len(set(kernels)) == 4

    printed = capsys.readouterr().out
    assert "mean of 2" in printed
    assert "is least on" in printed
    # Nothing is fitted twice.
    assert run(script, monkeypatch, tmp_path, *small) == rows
    assert run(script, monkeypatch, tmp_path, "--summary", "--sizes", "60") == rows
    assert capsys.readouterr().out.endswith(printed[printed.index("\n60 rows") :])


def test_the_summary_counts_where_ours_is_least(script, capsys):
    def row(name, estimator, divergence):
        return {"data": f"{name}, 9 rows", "estimator": estimator, "divergence": divergence}

    script.summarize(
        [
            row("claw", "skflow", "0.1"),
            row("claw", "skflow", "0.3"),
            row("claw", "KernelDensity", "0.25"),
            row("bimodal", "skflow", "0.1"),
            row("bimodal", "KernelDensity", "0.05"),
            row("outlier", "skflow", "0.3"),
            row("outlier", "KernelDensity", ""),  # it failed
        ],
        [9],
    )
    printed = capsys.readouterr().out.splitlines()
    assert next(line for line in printed if line.startswith("claw")).split()[1:] == [
        "0.2000",
        "0.2500",
    ]
    assert printed[-2].split()[-2:] == ["0.2000", "inf"]
    assert printed[-1] == "skflow is least on 2 of 3"


def test_divergence_is_that_of_two_gaussians(script, monkeypatch):
    monkeypatch.setattr(script, "SPACING", 0.0005)
    other = UnivariateNormalMixture([1.0], [0.5], [2.0])
    measured = script.divergence(marron_wand(1), other.score_samples)
    assert measured["divergence"] == pytest.approx(np.log(2) + (1 + 0.25) / 8 - 0.5, abs=1e-6)
    assert measured["floored"] == 0
    measured = script.divergence(marron_wand(1), lambda x: np.where(x[:, 0] > 0, 0.0, -np.inf))
    assert measured["floored"] == 0.5
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    assert measured["divergence"] == pytest.approx(50 - entropy, abs=1e-4)


def test_sheather_jones_is_in_the_units_of_the_rows(rng):
    pytest.importorskip("KDEpy")
    from _likelihood.classical import SheatherJones

    X = rng.normal(size=(10_000, 1))
    best = 1.06 * len(X) ** -0.2  # of a Gaussian
    for scale in (0.01, 1.0, 100.0):
        bandwidth = SheatherJones().fit(scale * X).kernels_.bandwidth_
        assert bandwidth / scale == pytest.approx(best, rel=0.15)
    assert SheatherJones(corrected=False).fit(X).kernels_.bandwidth_ < best / 1.5


def test_a_patient_search_finds_the_claw(global_random_seed):
    from _likelihood.classical import GaussianMixtureBIC

    X = marron_wand(10).sample(2000, random_state=global_random_seed)
    mixture = GaussianMixtureBIC(0, 10, patience=99).fit(X)
    assert len(mixture.mixture_.means_) >= 6
    assert mixture.n_parameters_ == 3 * len(mixture.mixture_.means_) - 1
