"""The soak, for a thousand steps and a hundred scores."""

import csv
from importlib import import_module

import pytest

# scikit-learn says so where another thread has no filters of warnings for a moment.
FOREIGN = "ignore:.sklearn.utils.parallel.delayed. should be used:UserWarning"


@pytest.mark.filterwarnings(FOREIGN)
def test_steps_do_not_drift_and_threads_have_the_bits_of_one(tmp_path, capsys):
    output = tmp_path / "reliability_soak.csv"
    sizes = ["--steps", "1000", "--networks", "tracked", "--calls", "160"]
    import_module("reliability").main(["soak", *sizes, "--results", str(tmp_path)])
    assert "12 of 12 lines are as they should be" in capsys.readouterr().out
    with output.open(encoding="utf-8") as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [line["what"].split(",")[0] for line in table] == ["scores"] * 2 + ["steps"] * 10
    assert all(float(line["drift_nats"]) != 0 for line in table[2:])  # tracked, not computed


def test_a_drift_is_found(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("_reliability.soak.log_dets", lambda flow: (1.0, 1.1))
    sizes = ["--steps", "1000", "--networks", "default", "--calls", "16", "--threads", "1"]
    import_module("reliability").main(["soak", *sizes, "--results", str(tmp_path)])
    out = capsys.readouterr().out
    assert "2 of 12 lines" in out
    assert out.count("FAILED with --seed 0") == 10
