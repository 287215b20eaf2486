"""The figures that the page on reliability quotes are those of the campaigns."""

import csv
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "reliability.rst").read_text(encoding="utf-8").split())


def results(name):
    path = ROOT / "benchmarks" / "results" / f"reliability_{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_killed_fits():
    rows = results("kills")
    n_killed, n_writing = (
        sum(int(row[name]) for row in rows) for name in ("killed", "during_writes")
    )
    assert all(row["same_bits"] == "1" for row in rows)
    assert f"were killed {n_killed} times" in PAGE
    assert f"and {n_writing} times at a random step of writing" in PAGE
    assert f"All {len(rows)} fits ended with the same bits" in PAGE


def test_altered_files():
    rows = results("files")
    total = {name: sum(int(row[name]) for row in rows) for name in rows[0] if name != "file"}
    assert f"{total['files']:,} altered files" in PAGE
    assert f"{total['refused']:,} files were refused" in PAGE
    assert f"{total['same']:,} opened as the same model" in PAGE
    assert f"{total['forged_opened']:,} of the forged ones opened as another model" in PAGE
    for name in ("accident_opened", "other_error", "crash", "code", "slow", "large"):
        assert total[name] == 0


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_other_processors(kind):
    most = max((row[f"largest_difference_{kind}"] for row in results("processors")), key=float)
    assert f"Scores in {kind} differ by {most} nats at most" in PAGE


def test_random_fits():
    kind_of_case = import_module("_reliability.fits").kind_of_case
    rows = [
        row | {"n_rows": int(row["n_rows"]), "n_features": int(row["n_features"])}
        for row in results("fits")
    ]
    assert {row["outcome"] for row in rows} == {"good", "below", "refused"}
    compared = [row for row in rows if row["outcome"] != "refused"]
    good = [row for row in compared if row["outcome"] == "good"]
    assert f"{len(rows)} fits of random parameters" in PAGE
    assert f"{len(rows) - len(compared)} were refused" in PAGE
    assert f"{len(good)} of {len(compared)} are good" in PAGE
    n_compared, n_good = (Counter(map(kind_of_case, some)) for some in (compared, good))
    for kind, n in n_compared.items():
        below = [
            float(row["difference"]) / row["n_features"]
            for row in compared
            if kind_of_case(row) == kind and row["outcome"] == "below"
        ]
        median = f"{np.median(below):.2f}" if below else "none"
        assert f"* - {kind} - {n} - {n_good[kind]} - {median}" in PAGE


def test_fuzzed_calls():
    rows = results("calls")
    names = [name for name in rows[0] if name not in {"entry_point", "longest_seconds"}]
    total = {name: sum(int(row[name]) for row in rows) for name in names}
    assert total["faults"] == total["others"] == 0
    assert f"{total['calls']:,} calls of {len(rows)} entry points" in PAGE
    n_refused = total["calls"] - total["returned"]
    assert f"{total['returned']:,} returned and {n_refused:,} were refused" in PAGE
    longest = max(float(row["longest_seconds"]) for row in rows)
    assert f"the longest took {longest:.0f} s" in PAGE
