import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    """The benchmarks are scripts, not a package: they import from their own folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture(autouse=True)
def _quick_fits(quick_mixtures):
    """Let fits take no longer than seeing that scripts run does."""


@pytest.fixture
def results():
    """Return a function that reads the table of a benchmark, by default a committed one."""

    def results(name, folder=ROOT / "benchmarks" / "results"):
        lines = (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))

    return results


@pytest.fixture
def page():
    """Return a function that reads a page of the documentation, in a single line."""

    def page(name):
        return " ".join((ROOT / "docs" / f"{name}.rst").read_text(encoding="utf-8").split())

    return page
