"""The campaign of round trips, on a table that is small."""

import csv

import numpy as np
import pytest


@pytest.mark.usefixtures("quick_mixtures")
def test_each_fit_has_a_row(monkeypatch, tmp_path):
    from reliability import main

    rng = np.random.default_rng(0)
    (tmp_path / "tabular").mkdir()
    np.savez(tmp_path / "tabular" / "wilt.npz", X=rng.gamma(2.0, size=(120, 3)), y=np.zeros(120))
    arguments = ["round_trips", "--sets", "wilt", "--seeds", "0", "--samples", "50"]
    main([*arguments, "--data-dir", str(tmp_path), "--results", str(tmp_path)])
    lines = (tmp_path / "reliability_round_trips.csv").read_text(encoding="utf-8").splitlines()
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert (row["data"], row["n_rows"], row["n_features"]) == ("wilt", "108", "3")
    assert 0 < float(row["held_out_error"]) < 1e-6
    assert 0 < float(row["sampled_error"]) < 1e-6
    assert float(row["smallest_singular_value"]) <= float(row["largest_singular_value"])
