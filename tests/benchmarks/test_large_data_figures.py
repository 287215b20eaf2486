"""The figures that the page on large data quotes are those of the benchmark."""

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "large_data.rst").read_text(encoding="utf-8").split())


def results(name):
    path = ROOT / "benchmarks" / "results" / f"large_data_{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.mark.parametrize(
    ("name", "columns", "written"),
    [
        ("speed", ["train_ratio", "score_ratio"], "{:.2f}"),
        ("memory", ["fit_anonymous_mb", "score_anonymous_mb"], "{:.0f} MB"),
    ],
)
def test_tables_of_the_page(name, columns, written):
    rows = results(name)
    assert len(rows) == 4
    for row in rows:
        cells = [written.format(float(row[column])) for column in columns if row[column]]
        assert " - ".join([row["flow"], row["source"], *cells]) in PAGE
