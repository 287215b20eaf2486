"""The figures that the page on reliability quotes are those of the campaigns."""

import csv
from pathlib import Path

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
