"""The benchmark of conditional densities, at sizes that mean nothing, and what it measures."""

import sys
from importlib import import_module

import numpy as np
import pytest
from scipy.stats import norm

import skflow


class StandInFlow:
    """Stands for our estimator: independent normal distributions, which ignore X."""

    def __init__(self, cv=None, random_state=None, max_time=None):
        self.cv = cv
        self.random_state = random_state

    def fit(self, X, y):
        self.mean, self.scale = y.mean(0), y.std(0)
        return self

    def score_samples(self, X, y):
        log_density = norm.logpdf(y, self.mean, self.scale)
        return log_density if y.ndim == 1 else log_density.sum(1)

    def cdf(self, X, y):
        return norm.cdf(y, self.mean, self.scale)

    def predict_quantiles(self, X, q):
        return np.tile(norm.ppf(q, self.mean, self.scale), (len(X), 1))

    def predict_interval(self, X, coverage):
        wider = 1 if self.cv is None else 10
        levels = [(1 - coverage) / 2, (1 + coverage) / 2]
        return wider * self.predict_quantiles(X, levels)


@pytest.fixture
def script(monkeypatch):
    for package in ("zuko", "nflows"):
        pytest.importorskip(package)
    monkeypatch.setattr(skflow, "ConditionalFlow", StandInFlow, raising=False)
    script = import_module("conditional")
    monkeypatch.setattr(import_module("_conditional.run"), "LEAST_TIME", 0.2)
    monkeypatch.setattr(import_module("_likelihood.tables"), "LEAST_TIME", 0.2)
    monkeypatch.setattr(import_module("_conditional.ensemble"), "N_EPOCHS", 2)
    peers = import_module("_conditional.peers")
    for name, value in {"N_STAGES": 20, "N_SAMPLES": 5, "BOOSTED_LEVELS": [0.1, 0.9]}.items():
        monkeypatch.setattr(peers, name, value)
    return script


@pytest.fixture
def data_dir(tmp_path, rng):
    X = rng.normal(size=(80, 3))
    X[:, 1] = 7
    y = (10 * X[:, 0] + rng.normal(size=80)).round()
    (tmp_path / "regression").mkdir()
    for name in ("yacht", "wine"):
        splits = {f"test_{k}": np.arange(k, 80, 8) for k in range(3)}
        np.savez(tmp_path / "regression" / f"{name}.npz", X=X, y=y, **splits)
    return tmp_path


def run(script, monkeypatch, tmp_path, *arguments, several=False):
    from _likelihood.rows import Rows

    monkeypatch.setattr(sys, "argv", ["conditional", *arguments, "--results", str(tmp_path)])
    script.main()
    if several:
        path, fields = "conditional_several.csv", script.measure.FIELDS
    else:
        path, fields = "conditional.csv", script.FIELDS
    return Rows(tmp_path / path, fields).rows


def test_sets(script, monkeypatch, tmp_path, data_dir, capsys):
    names = ["skflow", "linear Gaussian", "deep ensemble", "zuko MAF", "boosted quantiles"]
    arguments = ["sets", "--data-dir", str(data_dir), "--sets", "yacht", "wine"]
    arguments += ["--splits", "0", "2", "--only", *names]
    rows = run(script, monkeypatch, tmp_path, *arguments)
    assert len(rows) == 2 * 2 * 2 * len(names)
    assert list(dict.fromkeys(row["estimator"] for row in rows)) == names
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["n_features"] for row in rows} == {"2"}  # one is constant
    assert {(row["n_rows"], row["n_test"]) for row in rows} == {("70", "10")}
    assert all(float(row["crps"]) > 0 for row in rows)
    for row in rows:
        has_density = row["estimator"] != "boosted quantiles"
        assert (row["nll"] != "") == (row["pit_p"] != "") == has_density
        assert (row["terms"] == "equal time") == (row["estimator"] == "zuko MAF")
    linear = [float(row["nll"]) for row in rows if row["estimator"] == "linear Gaussian"]
    assert len(set(linear)) == 6  # the sets are the same but for their noise

    printed = capsys.readouterr().out
    assert "of 2 sets" in printed
    assert "published, NGBoost" in printed
    # Nothing is fitted twice.
    assert run(script, monkeypatch, tmp_path, *arguments) == rows
    assert run(script, monkeypatch, tmp_path, "summary") == rows
    assert capsys.readouterr().out.endswith(printed[printed.index("\nmean test NLL") :])


def test_intervals_are_the_estimators_own(script, monkeypatch, tmp_path, data_dir, capsys):
    arguments = ["sets", "--data-dir", str(data_dir), "--sets", "wine", "--splits", "0"]
    arguments += ["--targets", "noisy", "--only", "skflow", "skflow, cv=5"]
    plain, calibrated = run(script, monkeypatch, tmp_path, *arguments)
    assert float(calibrated["width_90"]) == pytest.approx(10 * float(plain["width_90"]), rel=1e-3)
    assert calibrated["crps"] == plain["crps"]


def test_peers_have_seconds_of_their_own_until_ours_is_measured(
    script, monkeypatch, tmp_path, data_dir, capsys
):
    arguments = ["sets", "--data-dir", str(data_dir), "--sets", "wine", "--splits", "0"]
    arguments += ["--targets", "noisy", "--default-time", "0.3", "--only", "zuko MAF"]
    (first,) = run(script, monkeypatch, tmp_path, *arguments)
    assert (first["terms"], first["max_time"]) == ("0.3 s", "0.3")
    assert "skflow has not been measured" in first["detail"]
    _, ours, second = run(script, monkeypatch, tmp_path, *arguments, "skflow")
    assert ours["estimator"] == "skflow"
    assert (second["terms"], second["max_time"]) == ("equal time", "0.2")

    from _conditional.summary import means

    found = means([second, first, ours], "nll", "noisy")
    assert found["zuko MAF"] == {"wine": {"0": float(second["nll"])}}


def test_means_are_compared_where_all_splits_are_there(script):
    from _conditional.summary import cell, lowest

    whole, part = {"0": 2.0, "1": 4.0}, {"0": 1.0}
    of_sets, of_splits = lowest({"whole": {"wine": whole}, "part": {"wine": part}})
    assert of_sets == {"whole": 1}
    assert of_splits == {"part": 1, "whole": 1}
    assert cell(whole.values(), 2) == "3 ± 1"
    assert cell(part.values(), 2) == "1 [1]"


def test_fits_that_fail_have_rows(script, monkeypatch, tmp_path, data_dir, capsys):
    from _conditional.task import Contender, Fitted, Prediction

    class Hole(Prediction):
        def log_density(self, y):
            return np.where(np.arange(len(y)) == 0, -np.inf, 0.0)

        def quantiles(self):
            return np.zeros((10, 199))

    def fail(task):
        raise ValueError("no such density\nand more")

    contenders = {
        "broken": Contender(fail, "scikit-learn"),
        "hole": Contender(lambda task: Fitted(lambda X: Hole()), "scikit-learn"),
    }
    monkeypatch.setattr(script, "CONTENDERS", contenders)
    arguments = ["sets", "--data-dir", str(data_dir), "--sets", "wine", "--splits", "0"]
    broken, _, hole, _ = run(script, monkeypatch, tmp_path, *arguments)
    assert (broken["status"], broken["nll"]) == ("failed", "")
    assert broken["detail"] == "ValueError: no such density"
    assert (hole["status"], hole["nll"]) == ("infinite", "inf")
    assert float(hole["crps"]) > 0
    assert "broken: 2 fits failed" in capsys.readouterr().out


def test_noise_is_as_wide_as_the_recording(script, data_dir):
    from _conditional.splits import load_split

    noisy = load_split(data_dir, "wine", 1, "noisy")
    recorded = load_split(data_dir, "wine", 1, "recorded")
    np.testing.assert_array_equal(noisy.X, recorded.X)
    np.testing.assert_array_equal(recorded.y_test.round(), recorded.y_test)
    difference = np.r_[noisy.y - recorded.y, noisy.y_test - recorded.y_test]
    assert 0.4 < np.abs(difference).max() < 0.5
    again = load_split(data_dir, "wine", 1, "noisy")
    np.testing.assert_array_equal(again.y, noisy.y)
    assert load_split(data_dir, "wine", 2, "noisy").seed != noisy.seed


def test_quantiles_give_the_score_of_a_normal_distribution(script):
    from _conditional.measure import crps, interval
    from _conditional.task import LEVELS

    y = np.array([-1.5, 0.0, 0.3, 4.0])
    quantiles = np.tile(norm.ppf(LEVELS), (len(y), 1))
    exact = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    np.testing.assert_allclose(crps(quantiles, y), exact, rtol=2e-3)
    for percent in (50, 80, 90, 95):
        lower, upper = interval(quantiles, percent)
        np.testing.assert_allclose(norm.cdf(upper) - norm.cdf(lower), percent / 100)


def check(prediction, low, high, atol):
    """A density of one target integrates to its distribution function; quantiles invert it."""
    from _conditional.task import LEVELS

    quantiles = prediction.quantiles()
    n_rows = len(quantiles)
    for k in (0, 99, 198):
        found = prediction.cdf(np.ascontiguousarray(quantiles[:, k]))
        np.testing.assert_allclose(found, LEVELS[k], rtol=0, atol=atol)
    ends = np.linspace(low, high, 1001)
    middles = (ends[1:] + ends[:-1]) / 2
    density = np.exp([prediction.log_density(np.full(n_rows, y)) for y in middles])
    mass = density.sum(0) * (ends[1] - ends[0])
    difference = prediction.cdf(np.full(n_rows, high)) - prediction.cdf(np.full(n_rows, low))
    np.testing.assert_allclose(mass, difference, rtol=0, atol=atol)


def test_mixtures_of_normals(script, rng):
    from _conditional.predictions import Normals

    means, scales = rng.normal(size=(4, 3)), rng.uniform(0.5, 2, size=(4, 3))
    check(Normals(means, scales), -3.0, 2.0, atol=1e-5)
    check(Normals(means[:, 0], 0.7), -3.0, 2.0, atol=1e-5)


@pytest.mark.parametrize("name", ["zuko NSF", "zuko MAF"])
def test_conditional_flows_of_zuko(script, name, rng):
    from _conditional.flows import fit_zuko
    from _conditional.task import Task

    X = rng.normal(size=(300, 2)) * [1, 20]
    y = 100 + 5 * X[:, 0] + rng.normal(size=300) * np.exp(0.02 * X[:, 1])
    prediction = fit_zuko(Task(X, y, 0, max_time=0.5), name).predict(X[:4])
    check(prediction, 95.0, 107.0, atol=2e-3)


def test_samples_and_quantiles(script):
    from _conditional.predictions import Quantiles, Samples

    samples = Samples(np.arange(99.0) * np.ones((2, 1)))
    np.testing.assert_allclose(samples.cdf(np.array([-1.0, 49.0])), [0.005, 0.5])
    assert samples.quantiles().shape == (2, 199)
    crossed = Quantiles(np.array([[3.0, 1.0, 2.0]]), np.array([0.25, 0.5, 0.75]))
    found = crossed.quantiles()[0]
    assert (found[0], found[99], found[-1]) == (1.0, 2.0, 3.0)
    assert (np.diff(found) >= 0).all()
    assert crossed.log_density(np.zeros(1)) is None
    assert crossed.cdf(np.zeros(1)) is None


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("NGBoost", "ngboost"),
        ("quantile forest", "quantile_forest"),
        ("Treeffuser", "treeffuser"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of packages that are made for older versions
def test_peers_of_other_packages(script, name, package, rng):
    pytest.importorskip(package)
    from _conditional.task import Task

    X = rng.normal(size=(60, 2))
    task = Task(X, X[:, 0] + rng.normal(size=60), 0)
    prediction = script.CONTENDERS[name].fit(task).predict(X[:6])
    quantiles = prediction.quantiles()
    assert quantiles.shape == (6, 199)
    assert (np.diff(quantiles) >= 0).all()
    levels = prediction.cdf(task.y[:6])
    assert ((levels >= 0) & (levels <= 1)).all()
    assert (prediction.log_density(task.y[:6]) is not None) == (name == "NGBoost")


def test_several(script, monkeypatch, tmp_path, capsys):
    from _conditional import several

    rows = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    rows[:, 3] += 2 * rows[:, 4]
    monkeypatch.setattr(script, "load_table", lambda *_: np.split(rows, [90, 105]))
    arguments = ["several", "--data-dir", "of no need", "--tables", "wilt", "--seeds", "0", "1"]
    found = run(script, monkeypatch, tmp_path, *arguments, several=True)
    assert [row["estimator"] for row in found] == 2 * list(several.contenders(2))
    assert {row["status"] for row in found} == {"ok"}
    assert {row["data"] for row in found} == {"wilt, 2 targets"}
    nats = {row["estimator"]: float(row["test_nats"]) for row in found}
    assert nats["skflow"] == pytest.approx(nats[several.ONE_BY_ONE], abs=1e-4)  # independent
    assert nats["linear Gaussian"] > nats["skflow"] + 0.3
    assert "wilt, 2 targets" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["zuko NSF", "zuko MAF"])
def test_joint_densities_are_in_the_units_of_the_targets(script, name, rng):
    from _conditional.several import fit_zuko
    from _likelihood.task import Task

    X = rng.normal(size=(300, 1))
    y = np.c_[X + rng.normal(size=(300, 1)), rng.normal(size=(300, 1))] * [20, 0.1]
    rows = np.c_[X, y].astype(np.float32)
    fitted = fit_zuko(Task(rows[:250], rows[250:], 0, 1, max_time=0.5), 2, name)
    sides = [np.linspace(-160, 160, 161), np.linspace(-0.8, 0.8, 81)]
    points = np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)
    given = np.c_[np.full(len(points), 0.5), points]
    mass = np.exp(fitted.score_samples(given)).sum() * 2 * 0.02
    assert mass == pytest.approx(1, abs=0.02)
    assert fitted.validation_nats == pytest.approx(
        fitted.score_samples(rows[250:]).mean(), abs=1e-4
    )
