"""Some fuzzed calls of the public interface, and whether a fault would be seen."""

import sys
from importlib import import_module

import numpy as np
import pytest

from skflow.datasets import half_moons


@pytest.fixture
def calls():
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    return import_module("_reliability.calls")


@pytest.mark.parametrize("seed", [101, 102, 103])
def test_no_call_does_what_it_may_not(calls, seed):
    for i in range(50):
        one = calls.fuzzed(seed, i)
        _, fault = calls.judged(one)
        assert not fault, f"--seed {seed} --only {i}: {fault}, {one}"


def test_the_campaign(calls, monkeypatch, tmp_path, capsys):
    script = import_module("reliability")
    monkeypatch.setattr(
        sys, "argv", ["", "calls", "--calls", "20", "--seed", "101", "--results", str(tmp_path)]
    )
    script.main()
    assert "20 calls, 0 faults" in capsys.readouterr().out
    lines = (tmp_path / "reliability_calls.csv").read_text(encoding="utf-8").splitlines()
    header = next(line for line in lines if not line.startswith("#"))
    assert header.startswith("entry_point,calls,returned,NotFittedError,DivergenceError")


class Faulty:
    """Does what no call may do."""

    def __init__(self, what):
        self.what, self.state = what, [0]

    def score(self, X):
        """Do it."""
        if self.what == "foreign":
            raise KeyError("0")
        if self.what == "no check":
            raise ValueError("a message that comes from no check")
        if self.what == "changes":
            self.state.append(1)
            raise ValueError("argument X is not what it should be")
        if self.what == "warns":
            return np.log(np.zeros(3))
        if self.what == "writes":
            X[0] = 1
        return half_moons().score(X) if self.what == "writes" else np.nan


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("foreign", "KeyError"),
        ("no check", "message of no check"),
        ("changes", "estimator changed by a failed call"),
        ("warns", "RuntimeWarning: divide by zero encountered in log"),
        ("writes", "X changed"),
        ("nan", "NaN returned"),
    ],
)
def test_faults_are_seen(calls, monkeypatch, what, fault):
    monkeypatch.setattr(calls, "subject", lambda name: Faulty(what))
    call = calls.Call("Faulty.score", "Faulty", "score", {"X": ("array", np.zeros((3, 2)))})
    one = calls.Fuzzed(call, {"X": calls.Mutated(np.zeros((3, 2)))}, {})
    assert calls.judged(one)[1] == fault


def test_other_numbers_are_seen(calls):
    call = calls.Call("half_moons", "ToyDensity", "score", {"X": ("array", np.zeros((3, 2)))})
    one = calls.Fuzzed(call, {"X": calls.Mutated(np.ones((3, 2)), np.zeros((3, 2)))}, {})
    assert calls.judged(one)[1] == "not what the plain array gives"
