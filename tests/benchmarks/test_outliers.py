"""What the benchmark of outliers writes down, on a small table of its format."""

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def arguments(tmp_path, rng):
    X, y = rng.standard_normal((60, 3)), np.zeros(60)
    X[:5], y[:5] = 9 + X[:5], 1
    X[:, 1] = 7
    X[:, 2] = X[:, 2].round()
    (tmp_path / "tabular").mkdir()
    (tmp_path / "outliers").mkdir()
    for path in ("tabular/annthyroid", "tabular/cover", "outliers/glass"):
        np.savez(tmp_path / f"{path}.npz", X=X, y=y)
    return SimpleNamespace(
        data_dir=tmp_path, results=tmp_path, sets=["annthyroid", "cover"], most_rows=None
    )


def test_tables_with_and_without_atoms(arguments):
    from _data import load_labelled_table

    X, smooth, y = load_labelled_table(arguments.data_dir, "cover")
    assert X.shape == smooth.shape == (60, 2)  # one is constant
    assert y.sum() == 5
    assert len(np.unique(X[:, 1])) < 20
    assert len(np.unique(smooth[:, 1])) == 60
    assert (np.abs(smooth[:, 0] - X[:, 0]) < 0.1 * X[:, 0].std()).all()
    assert (smooth - X)[:, 1].min() > -0.1
    assert (smooth - X)[:, 1].max() < 1.1


def test_the_smaller_tables_and_some_of_their_rows(arguments):
    import outliers
    from _data import load_labelled_table

    table = load_labelled_table(arguments.data_dir, "glass")
    assert outliers.half("glass") == "chosen by"
    assert outliers.half("hepatitis") == "confirmed on"
    assert len(outliers.SETS) == 23
    X, smooth, y = outliers.some_rows(*table, 20)
    assert len(X) == len(smooth) == len(y) == 20
    assert (np.abs(smooth[:, 0] - X[:, 0]) < 0.1 * table[0][:, 0].std()).all()
    assert outliers.some_rows(*table, 60)[0] is table[0]


def test_ranks(arguments, monkeypatch, capsys):
    import outliers

    fits = []

    def distance(X):
        fits.append(X)
        return -np.abs(X).sum(axis=1)

    monkeypatch.setattr(outliers, "detector_scores", distance)
    monkeypatch.setattr(outliers, "CANDIDATES", {"skflow, other": distance})
    monkeypatch.setattr(outliers, "PEERS", {"worse": lambda X: -distance(X)})
    outliers.run_ranks(arguments)
    text = (arguments.results / "outliers.csv").read_text()
    assert [line.split(",")[:3] for line in text.splitlines() if line[0] != "#"][1:3] == [
        ["annthyroid", "chosen by", "skflow"],
        ["annthyroid", "chosen by", "worse"],
    ]
    assert "cover,confirmed on,worse,60,2,5,0.0,0.0" in text
    assert len(fits) == 5  # the candidate on one of the two tables
    printed = capsys.readouterr().out
    assert "all: 2 tables" in printed
    assert "mean area              1.000   mean rank 1.00" in printed
    outliers.run_ranks(arguments)
    assert len(fits) == 5
    assert (arguments.results / "outliers.csv").read_text() == text


def test_false_alarms(arguments, monkeypatch, capsys):
    import outliers

    seen = []

    def half_of_them(fitted, new):
        seen.append((fitted, new))
        return np.arange(len(new)) / len(new), len(fitted)

    monkeypatch.setattr(outliers, "CALIBRATIONS", {"skflow": half_of_them})
    outliers.run_false_alarms(arguments)
    outliers.run_false_alarms(arguments)
    assert [(len(fitted), len(new)) for fitted, new in seen] == [(36, 19)] * 2
    assert max(np.abs(np.vstack(pair)).max() for pair in seen) < 6  # inliers alone
    rows = (arguments.results / "outliers_false_alarms.csv").read_text().splitlines()
    assert rows[-1].startswith("cover,skflow,36,36,19,0.1,0.1053,")  # 2 of 19
    assert "alpha 0.1" in capsys.readouterr().out
