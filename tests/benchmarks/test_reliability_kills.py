"""The campaign of killed fits, in short."""

import argparse
from importlib import import_module

import pytest

pytestmark = pytest.mark.usefixtures("quick_mixtures")


def test_killed_fits_end_with_the_same_bits(monkeypatch, tmp_path):
    kills = import_module("_reliability.kills")
    chosen = {name: kills.SCENARIOS[name] for name in ("few rows", "no rows held out")}
    monkeypatch.setattr(kills, "SCENARIOS", chosen)
    parser = argparse.ArgumentParser()
    parser.set_defaults(results=tmp_path)
    kills.add_arguments(parser)
    rows = kills.run(parser.parse_args(["--kills", "6", "--most", "3"]))
    assert sum(row["killed"] for row in rows) == 6
    assert sum(row["during_writes"] for row in rows) >= 1
    assert all(row["same_bits"] and not row["what_else"] for row in rows)
    assert all(row["files_left"] == 0 for row in rows)
    assert (tmp_path / "reliability_kills.csv").exists()


def test_a_fit_that_fails_is_no_life_that_ends_well(tmp_path):
    kills = import_module("_reliability.kills")

    def failing(path):
        raise ValueError("no such fit")

    life = kills._Life.__new__(kills._Life)
    life.make, life.path, life.chance, life.seconds = failing, tmp_path / "x", kills.random, None
    lived = life.lived(0, "the digest")
    assert lived["same_bits"] == 0
    assert "no such fit" in lived["what_else"]
