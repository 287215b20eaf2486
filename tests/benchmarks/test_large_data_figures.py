"""The figures that the page on large data quotes are those of the benchmark."""

import pytest


@pytest.mark.parametrize(
    ("name", "columns", "written"),
    [
        ("speed", ["train_ratio", "score_ratio"], "{:.2f}"),
        ("memory", ["fit_anonymous_mb", "score_anonymous_mb"], "{:.0f} MB"),
    ],
)
def test_tables_of_the_page(results, page, name, columns, written):
    rows = results(f"large_data_{name}")
    assert len(rows) == 4
    for row in rows:
        cells = [written.format(float(row[column])) for column in columns if row[column]]
        assert " - ".join([row["flow"], row["source"], *cells]) in page("large_data")
