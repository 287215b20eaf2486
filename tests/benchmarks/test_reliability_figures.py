"""The figures that the page on reliability quotes are those of the campaigns."""

from collections import Counter
from importlib import import_module

import numpy as np
import pytest


@pytest.fixture
def said(page):
    return page("reliability")


def test_killed_fits(results, said):
    rows = results("reliability_kills")
    n_killed, n_writing = (
        sum(int(row[name]) for row in rows) for name in ("killed", "during_writes")
    )
    assert all(row["same_bits"] == "1" for row in rows)
    assert f"were killed {n_killed} times" in said
    assert f"and {n_writing} times at a random step of writing" in said
    assert f"All {len(rows)} fits ended with the same bits" in said


def test_altered_files(results, said):
    rows = results("reliability_files")
    total = {name: sum(int(row[name]) for row in rows) for name in rows[0] if name != "file"}
    assert f"{total['files']:,} altered files" in said
    assert f"{total['refused']:,} files were refused" in said
    assert f"{total['same']:,} opened as the same model" in said
    assert f"{total['forged_opened']:,} of the forged ones opened as another model" in said
    for name in ("accident_opened", "other_error", "crash", "code", "slow", "large"):
        assert total[name] == 0


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_other_processors(results, said, kind):
    most = max(
        (row[f"largest_difference_{kind}"] for row in results("reliability_processors")), key=float
    )
    assert f"Scores in {kind} differ by {most} nats at most" in said


def test_random_fits(results, said):
    kind_of_case = import_module("_reliability.fits").kind_of_case
    rows = [
        row | {"n_rows": int(row["n_rows"]), "n_features": int(row["n_features"])}
        for row in results("reliability_fits")
    ]
    assert {row["outcome"] for row in rows} == {"good", "below", "refused"}
    compared = [row for row in rows if row["outcome"] != "refused"]
    good = [row for row in compared if row["outcome"] == "good"]
    assert f"{len(rows)} fits of random parameters" in said
    assert f"{len(rows) - len(compared)} were refused" in said
    assert f"{len(good)} of {len(compared)} are good" in said
    n_compared, n_good = (Counter(map(kind_of_case, some)) for some in (compared, good))
    for kind, n in n_compared.items():
        below = [
            float(row["difference"]) / row["n_features"]
            for row in compared
            if kind_of_case(row) == kind and row["outcome"] == "below"
        ]
        median = f"{np.median(below):.2f}" if below else "none"
        assert f"* - {kind} - {n} - {n_good[kind]} - {median}" in said


def test_fuzzed_calls(results, said):
    rows = results("reliability_calls")
    names = [name for name in rows[0] if name not in {"entry_point", "longest_seconds"}]
    total = {name: sum(int(row[name]) for row in rows) for name in names}
    assert total["faults"] == total["others"] == 0
    assert f"{total['calls']:,} calls of {len(rows)} entry points" in said
    n_refused = total["calls"] - total["returned"]
    assert f"{total['returned']:,} returned and {n_refused:,} were refused" in said
    longest = max(float(row["longest_seconds"]) for row in rows)
    assert f"the longest took {longest:.0f} s" in said
