from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    """The benchmarks are scripts, not a package: they import from their own folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(autouse=True)
def _quick_fits(quick_mixtures):
    """Let fits take no longer than seeing that scripts run does."""
