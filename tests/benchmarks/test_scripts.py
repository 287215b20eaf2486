"""Every benchmark script runs from end to end, at the smallest sizes that mean nothing."""

import csv
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

from skflow import FlowClassifier, LeakyTanh, RelativeGradientFlow
from skflow.datasets import half_moons, sine


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a script with some of its sizes changed; returns what it wrote, by file."""

    def run(name, arguments, *, needs=(), **sizes):
        for package in needs:
            pytest.importorskip(package)
        script = import_module(name)
        folders = {name: tmp_path for name in ("RESULTS", "STATIC") if hasattr(script, name)}
        for constant, value in (folders | sizes).items():
            monkeypatch.setattr(script, constant, value)
        monkeypatch.setattr("sys.argv", [name, *arguments])
        script.main()
        tables = {}
        for path in tmp_path.glob("*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                rows = [line for line in file if not line.startswith("#")]
            tables[path.stem] = list(csv.DictReader(rows))
        return tables

    return run


def test_held_out(run):
    def model(random_state):
        return RelativeGradientFlow(1, max_iter=1, random_state=random_state)

    def load(name, seed):
        return np.split(np.random.default_rng(seed).normal(size=(60, 3)), [40])

    models = import_module("held_out").MODELS | {"flow, whiten": model, "flow, orthogonal": model}
    tables = run("held_out", ["--seeds", "1"], MODELS=models, LOADERS={"noise": None}, load=load)
    assert {row["model"] for row in tables["held_out"]} == set(models)
    assert all(np.isfinite(float(row["nats"])) for row in tables["held_out"])


def test_memory_map(run, tmp_path):
    sizes = ["--gigabytes", "1e-5", "--columns", "10", "--max-time", "0.5"]
    (row,) = run("memory_map", [*sizes, "--results", str(tmp_path)])["memory_map"]
    assert (row["n_rows"], row["n_features"]) == ("250", "10")
    assert float(row["peak_resident_mb"]) >= 0


def test_large_data(run, tmp_path):
    light = {"n_layers": 1, "activation": "leaky_tanh", "coupling": None}
    sizes = ["--gigabytes", "5e-5", "--parquet-gigabytes", "1e-5", "--rounds", "9"]
    folders = ["--folder", str(tmp_path), "--results", str(tmp_path)]
    tables = run(
        "large_data",
        [*sizes, "--max-time", "0.5", *folders],
        needs=("pyarrow",),
        N_COLUMNS=4,
        ROW_BYTES=16,
        FILE_ROWS=2500,
        STEP_ROWS=100,
        FLOWS={"light": light},
        in_new_process=lambda function, *arguments: function(*arguments),
    )
    speeds, memory = tables["large_data_speed"], tables["large_data_memory"]
    assert [row["source"] for row in speeds] == ["memory map", "Parquet"]
    assert all(float(row[f"{what}_ratio"]) > 0 for row in speeds for what in ("train", "score"))
    assert all(float(row["score_anonymous_mb"]) >= 0 for row in memory)


def test_distributed(run, tmp_path):
    folder = ["--ranks", "2", "--results", str(tmp_path)]
    rows = run("data_parallel", [*folder, "equality", "--rows", "80", "--epochs", "1"])
    rows = rows["data_parallel_equality"]
    assert len(rows) == 3 * 3 * 2
    assert {row["same_bits_on_all_ranks"] for row in rows} == {"True"}
    assert max(float(row["largest_difference_of_scores"]) for row in rows) < 1e-10


@pytest.mark.slow  # a process is killed, and others see that it says nothing
def test_distributed_after_the_end_of_a_rank(run, tmp_path):
    sizes = ["--rows", "200", "--epochs", "3", "--after", "3"]
    rows = run("data_parallel", ["--ranks", "2", "--results", str(tmp_path), "kill", *sizes])
    (row,) = rows["data_parallel_kill"]
    assert (row["to_rank"], row["named_on_all_others"]) == ("1", "1")
    assert float(row["largest_difference_of_scores"]) < 1e-10


@pytest.mark.slow  # each of its searches starts a cluster
@pytest.mark.filterwarnings("ignore")  # of the engines
@pytest.mark.parametrize("engine", ["Dask", "Ray"])
def test_cluster(run, tmp_path, engine):
    arguments = ["--engines", engine, "--max-iter", "1", "--results", str(tmp_path)]
    package = {"Dask": "distributed", "Ray": "ray"}[engine]
    rows = run("cluster", arguments, needs=(package,))["cluster"]
    assert [row["engine"] for row in rows] == ["one process", *[engine] * 3]
    # Whether the third one ends depends on which worker the engine sent the rows to.
    assert {rows[k]["outcome"] for k in (0, 1, 3)} == {"ended"}
    assert {row["largest_difference"] for row in rows if row["outcome"] == "ended"} == {"0.0"}


@pytest.mark.slow  # processes that import all there is
def test_row_split(run, tmp_path):
    sizes = ["--most-features", "60", "--folder", str(tmp_path)]
    rows = run("row_split", ["equality", *sizes])["row_split_equality"]
    assert {row["n_ranks"] for row in rows} == {"2", "4"}
    for what in ("weights", "log_determinant", "scores", "losses"):
        assert max(float(row[f"largest_difference_of_{what}"]) for row in rows) < 1e-10
    assert all(row["bytes_per_step"] == row["bytes_by_formula"] for row in rows)
    rows = run("row_split", ["large", *sizes])["row_split_large_60"]
    assert [row["rank"] for row in rows] == ["0", "1"]
    assert float(rows[0]["peak_mb"]) >= 0


def test_toys(run, tmp_path):
    rows = run(
        "toys",
        ["--epochs", "1"],
        TOYS={"moons": (half_moons(), 0.01), "waves": (sine(), 0.01)},
        N_TRAIN=60,
        N_TEST=50,
        OWN_EPOCHS=1,
        GRIDS={"integral": 10, "picture": 10},
    )["toys"]
    assert [row["settings"] for row in rows] == ["paper", "own"] * 2
    assert (tmp_path / "paper_toys.png").stat().st_size > 1000


@pytest.mark.parametrize("arguments", [["--only", "KernelDensity"], ["--figure"]])
def test_plane(run, tmp_path, arguments):
    tables = run(
        "plane",
        ["--sizes", "60", "--seeds", "0", *arguments],
        needs=("zuko", "nflows"),
        DENSITIES={"moons": half_moons(), "waves": sine()},
        N_TEST=50,
        PICTURE={"rows": 60, "points": 10},
    )
    if arguments == ["--figure"]:
        assert (tmp_path / "plane.png").stat().st_size > 1000
        return
    names = [(row["data"], row["estimator"]) for row in tables["plane"]]
    assert names == [
        (f"{data}, 60 rows", estimator)
        for data in ("moons", "waves")
        for estimator in ("skflow", "KernelDensity")
    ]
    assert {row["status"] for row in tables["plane"]} == {"ok"}


@pytest.mark.filterwarnings("ignore")  # of few steps, in the figures
def test_optimizers(run, tmp_path):
    script = import_module("optimizers")

    def load(data_dir):
        rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
        return rows[:200], rows[200:]

    setting = script.Setting(load, 2, LeakyTanh(), 50, 40, 40)
    arguments = ["--data-dir", str(tmp_path), "--seeds", "1"]
    tables = run("optimizers", arguments, SETTINGS={"one": setting, "two": setting}, N_SCORES=2)
    assert {row["data"] for row in tables["optimizers"]} == {"one", "two"}
    assert len(tables["optimizers_variants"]) == 2 * len(script.VARIANTS)


def test_speed(run):
    arguments = [
        *("--only", "steps", "small", "inference", "--threads", "1"),
        *("--rounds", "1", "--budget", "0.01", "--most-features", "8"),
    ]
    tables = run(
        "speed",
        arguments,
        needs=("nflows", "zuko"),
        STEP_FEATURES=(8,),
        STEP_ROWS=(10, 4),
        SMALL_SHAPES={"small": (3, 2)},
        SMALL_ROWS=(10,),
        INFERENCE_TRAIN=100,
        INFERENCE_ENTRIES=2**11,
        COPY_ENTRIES=2**10,
    )
    names = {row["contender"] for row in tables["speed_steps"]}
    assert {"skflow, relative", "published", "nflows LULinear"} <= names
    assert {row["n_features"] for row in tables["speed_inference"]} == {"8"}
    assert len(tables["speed_small"]) == 5


@pytest.mark.slow  # each of its measurements is a process
def test_speed_of_memory():
    pytest.importorskip("zuko")
    script = import_module("speed")
    sizes = partial(script.probe, threads=1)
    gradient = sizes("gradient", contender="published", n_features=16)
    fit = sizes("fit", optimizer="sgd", init="whiten", n_features=16, n_rows=200, epochs=1)
    assert fit["n_steps"] == 2
    assert set(gradient) <= set(fit)


class InThisProcess:
    """Stands for a version that is installed, and answers with the package as it is."""

    def __init__(self, source, worker, threads):
        self.worker = import_module(worker.stem)

    def ask(self, kind, **question):
        """Return the answer to a question."""
        if kind == "fit":
            question["max_iter"] = 1
        return self.worker.QUESTIONS[kind](**question)

    def close(self):
        """Do nothing."""


def test_default_speed(run, tmp_path, monkeypatch):
    def load_table(data_dir, name):
        rows = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
        return rows[:80], rows[80:100], rows[100:]

    for name, value in {"N_STEPS": 1, "N_TURNS": 1}.items():
        monkeypatch.setattr(import_module("_default_worker"), name, value)
    tables = run(
        "default_speed",
        ["--data-dir", str(tmp_path), "--turns", "1"],
        needs=("nflows", "zuko"),
        Version=InThisProcess,
        checked_out=lambda reference, room: room,
        load_table=load_table,
        STEP_FEATURES=(2,),
        RATE_FEATURES=(300,),
        TABLES=("one",),
    )
    names = {row["contender"] for row in tables["default_steps"]}
    assert {"before", "after", "floor", "zuko NSF"} <= names
    assert {row["version"] for row in tables["default_fits"]} == {"before", "after"}
    assert all(np.isfinite(float(row["nats"])) for row in tables["default_fits"])
    assert len(tables["default_rates"]) == 8


def test_classes(run, monkeypatch):
    script = import_module("classes")
    monkeypatch.setattr(
        script, "FlowClassifier", partial(FlowClassifier, GaussianMixture(reg_covar=1e-3))
    )
    monkeypatch.setattr(script, "told_apart", lambda *_: 0.5)
    tables = run("classes", ["tables", "--tables", "iris", "--splits", "0"])
    rows = {row["estimator"]: row for row in tables["classes"]}
    assert list(rows) == ["skflow", "boosted trees", "random forest", "logistic regression"]
    assert all(0 < float(row["log_loss"]) < 0.5 for row in rows.values())
    assert all(0 <= float(row["calibration_error"]) < 0.3 for row in rows.values())
    assert {row["unseen"] for row in rows.values()} == {"0.5"}


def test_a_class_that_was_left_out_is_told_apart():
    script = import_module("classes")
    X, labels = load_iris(return_X_y=True)
    train, test = np.arange(0, 150, 2), np.arange(1, 150, 2)
    classifier = FlowClassifier(GaussianMixture(reg_covar=1e-3), random_state=0)
    assert script.told_apart(classifier, X, labels, test, train) > 0.9


def test_calibration_errors_are_those_of_the_likeliest_class():
    script = import_module("classes")
    proba = np.tile([0.8, 0.2], (1000, 1))
    labels = np.arange(1000) % 10 < 3  # the likeliest class is right in 70 %
    error = script.calibration_error(labels, np.array([False, True]), proba)
    assert error == pytest.approx(0.1, abs=0.01)
