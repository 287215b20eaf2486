"""What the likelihood benchmark writes down, and that it does not fit twice."""

import csv
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from skflow import LeakyTanh, RelativeGradientFlow, default_bijections


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)


def standard_normal(X):
    return -0.5 * (X.astype(float) ** 2).sum(1) - np.log(2 * np.pi)


class Counter:
    """A contender that counts its fits, and keeps what it was given."""

    def __init__(self, log_density=standard_normal):
        self.tasks, self.log_density = [], log_density

    def __call__(self, task):
        from _likelihood.task import Fitted

        self.tasks.append(task)
        return Fitted(self.log_density, len(task.train), n_parameters=5)


@pytest.fixture
def field(rows):
    """A leader, one that is timed and sized, one that fails, and one with a hole."""
    from _likelihood.task import Contender

    def fail(task):
        raise ValueError("no such density\nand more")

    fits = SimpleNamespace(
        leader=Counter(),
        peer=Counter(),
        hole=Counter(lambda X: np.where(X[:, 0] > 0, -np.inf, -1.0)),
    )
    return fits, {
        "leader": Contender(fits.leader, "scikit-learn"),
        "peer": Contender(fits.peer, "scikit-learn", timed=True, sized=True, validates=True),
        "broken": Contender(fail, "scikit-learn"),
        "hole": Contender(fits.hole, "scikit-learn"),
    }


def run(tmp_path, contenders, rows, seeds=(3, 4)):
    from _likelihood.tables import run

    loaders = {"a table": lambda: (rows[:40], rows[40:50], rows[50:])}
    return run(
        tmp_path / "table.csv", loaders, contenders, seeds=seeds, n_threads=1, long_time=2.0
    )


def test_every_fit_has_a_row(tmp_path, field, rows, capsys):
    _, contenders = field
    table = run(tmp_path, contenders, rows)
    found = {(r["estimator"], r["terms"], r["seed"]): r for r in table.rows}
    assert len(found) == len(table.rows) == 10
    assert {(name, terms) for name, terms, _ in found} == {
        ("leader", "own"),
        ("peer", "equal time"),
        ("peer", "equal time and parameters"),  # with the first seed
        ("peer", "2 s"),
        ("broken", "own"),
        ("hole", "own"),
    }
    leader = found["leader", "own", "3"]
    assert leader["status"] == "ok"
    assert float(leader["test_nats"]) == pytest.approx(standard_normal(rows[50:]).mean(), abs=1e-5)
    assert float(leader["lowest_nats"]) == pytest.approx(
        standard_normal(rows[50:]).min(), abs=1e-5
    )
    assert leader["trimmed_nats"] == leader["test_nats"]  # of ten rows
    assert (leader["n_rows"], leader["n_test"], leader["threads"]) == ("40", "10", "1")
    broken = found["broken", "own", "4"]
    assert (broken["status"], broken["test_nats"]) == ("failed", "")
    assert broken["lowest_nats"] == broken["trimmed_nats"] == ""
    assert broken["detail"] == "ValueError: no such density"
    hole = found["hole", "own", "3"]
    n_finite = (rows[50:, 0] <= 0).sum()
    assert (hole["status"], hole["test_nats"]) == ("infinite", "-inf")
    assert f"{n_finite} of 10 rows are finite, of mean -1.0000" in hole["detail"]


def test_terms_that_cannot_be_met_are_no_failure(tmp_path, rows, capsys):
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    from _likelihood.summary import print_tables
    from _likelihood.task import Contender, Unattainable

    def refuse(task):
        raise Unattainable("too small")

    contenders = {
        "skflow": Contender(Counter(), "scikit-learn"),
        "large": Contender(refuse, "scikit-learn", timed=True, sized=True),
    }
    table = run(tmp_path, contenders, rows, seeds=[0])
    assert [row["status"] for row in table.rows] == ["ok", "left out", "left out"]
    print_tables(table.rows)
    assert "large" not in capsys.readouterr().out.partition("test nats")[2]


def test_terms_of_the_peers(tmp_path, field, rows, capsys):
    fits, contenders = field
    run(tmp_path, contenders, rows, seeds=[3])
    _, equal_time, equal_parameters, longer = fits.peer.tasks  # the first warmed up
    assert equal_time.max_time == equal_parameters.max_time == 1.0  # the least
    assert equal_time.n_parameters is None
    assert equal_parameters.n_parameters == 5
    assert longer.max_time == 2.0
    assert equal_time.seed == 3


def test_a_second_run_fits_only_what_is_missing(tmp_path, field, rows, capsys):
    fits, contenders = field
    run(tmp_path, contenders, rows)
    path = tmp_path / "table.csv"
    before = path.read_text()
    n_fits = len(fits.leader.tasks)
    run(tmp_path, contenders, rows)
    assert path.read_text() == before
    assert len(fits.leader.tasks) == n_fits
    lines = before.splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))  # cut short
    run(tmp_path, contenders, rows)
    assert len(path.read_text().splitlines()) == len(lines)
    assert len(fits.leader.tasks) == n_fits


def test_grid_search_goes_on_where_it_was(tmp_path, rows, capsys):
    from _likelihood.grid import TABLE_3, search

    assert np.prod([len(values) for values in TABLE_3.values()]) == 324
    path, parts = tmp_path / "grid.csv", (rows[:40], rows[40:50], rows[50:])
    grid = {**{name: values[:1] for name, values in TABLE_3.items()}, "n_layers": [1, 2]}
    best = search(path, "a table", parts, grid=grid, max_iter=2)
    first = path.read_text()
    found = [line.split(",") for line in first.splitlines()[5:]]
    assert len(found) == 2
    wider = {**grid, "activation": ["s_L, 0.3", "s_T"], "n_layers": [1, 2, 0]}
    best = search(path, "a table", parts, grid=wider, max_iter=2)
    assert path.read_text().startswith(first)
    with path.open() as file:
        table = list(csv.DictReader(line for line in file if line[0] != "#"))
    assert len(table) == 6
    assert len({tuple(row[name] for name in TABLE_3) for row in table}) == 6
    done = [row for row in table if row["status"] == "ok"]
    assert {row["n_layers"] for row in table if row["status"] == "failed"} == {"0"}
    assert len(done) == 4
    assert float(best["validation_nats"]) == max(float(row["validation_nats"]) for row in done)
    flow = RelativeGradientFlow(
        1,
        activation=LeakyTanh(alpha=1.0, beta=0.1),
        optimizer="adam",
        learning_rate=0.001,
        batch_size=10,
        bijections=partial(default_bijections, init="orthogonal"),
        max_iter=2,
        random_state=0,
    ).fit(rows[:40])
    row = next(row for row in done if (row["activation"], row["n_layers"]) == ("s_T", "1"))
    assert float(row["validation_nats"]) == pytest.approx(flow.score(rows[40:50]), abs=1e-4)
    assert float(row["test_nats"]) == pytest.approx(flow.score(rows[50:]), abs=1e-4)


def test_width_for_a_number_of_parameters():
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    from _likelihood.neural import GLOW, ZUKO_NSF
    from _likelihood.task import Unattainable

    recipe = ZUKO_NSF.with_parameters(5, 20_000)
    n = sum(p.numel() for p in recipe.build(5, recipe.width).parameters())
    assert n == pytest.approx(20_000, rel=0.05)
    assert recipe.rate == ZUKO_NSF.rate
    with pytest.raises(Unattainable, match="come nearest to 100"):
        GLOW(1000).with_parameters(5, 100)


def test_rows_refuse_other_columns(tmp_path):
    from _likelihood.rows import Rows

    path = tmp_path / "rows.csv"
    Rows(path, ["a", "b"]).append({"a": 1, "b": "two, three"})
    text = path.read_text()
    assert text.startswith("# command: ")
    assert text.endswith('a,b\n1,"two, three"\n')
    assert Rows(path, ["a", "b"]).find(a=1)["b"] == "two, three"
    assert Rows(path, ["a", "b"]).find(a=2) is None
    with pytest.raises(ValueError, match=r"has the columns \['a', 'b'\] instead of \['a'\]"):
        Rows(path, ["a"])


def test_mean_and_tail():
    from _likelihood.measure import mean_and_tail

    log_density = np.r_[np.full(1998, -1.0), -1e6, -5e5]
    mean, lowest, trimmed = mean_and_tail(log_density)
    assert mean == pytest.approx(-750.999)
    assert (lowest, trimmed) == (-1e6, -1.0)
    assert mean_and_tail(np.array([-np.inf, -2.0])) == (-np.inf, -np.inf, -np.inf)


def test_rows_of_older_files_are_read_and_kept(tmp_path, rows, field, capsys):
    from _likelihood.measure import FIELDS
    from _likelihood.rows import NEWER_FIELDS, Rows

    _, contenders = field
    run(tmp_path, contenders, rows, seeds=[3])
    path, older = tmp_path / "table.csv", tmp_path / "older.csv"
    fields = [name for name in FIELDS if name not in NEWER_FIELDS]
    written = Rows(older, fields)
    for row in Rows(path, FIELDS).rows:
        written.append({name: row[name] for name in fields})
    before = older.read_text()
    found = Rows(older, FIELDS)
    assert older.read_text() == before
    assert found.rows[0] == Rows(path, FIELDS).rows[0] | dict.fromkeys(NEWER_FIELDS, "")
    new = dict.fromkeys(FIELDS, "new")
    found.append(new)
    again = Rows(older, FIELDS)
    assert again.rows == found.rows
    assert again.rows[-1] == new
    assert older.read_text().startswith(before.partition("\ndata,")[0])
    assert list(tmp_path.glob("*.new")) == []
    with pytest.raises(ValueError, match="has the columns"):
        Rows(older, fields)


def test_the_tail_stands_beside_the_mean(capsys):
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    from _likelihood.summary import print_curves, print_tables

    def row(estimator, seed, nats, lowest, trimmed):
        return {
            **{"data": "a", "estimator": estimator, "seed": seed, "status": "ok", "terms": "own"},
            **{"test_nats": nats, "validation_nats": nats, "budget": "60.0", "point": "end"},
            **{"lowest_nats": lowest, "trimmed_nats": trimmed},
        }

    found = [
        row("skflow", "0", "-9.0", "-5000.0", "-4.0"),
        row("skflow", "1", "-5.0", "-300.0", "-3.0"),
        row("rival", "0", "-8.0", "", ""),
    ]
    for show in (print_tables, print_curves):
        show(found)
        lines = capsys.readouterr().out.splitlines()
        ours = next(line for line in lines if line.startswith("  skflow"))
        assert ours.endswith("-7.00 ± 2.83        -5000.00           -3.50")
        heading = next(line for line in lines if line.startswith("a "))
        assert heading.endswith("lowest row   without 0.1 %")
        assert len(heading) == len(ours)
        assert any(line.endswith("-8.00") for line in lines)


def test_who_holds_rows_out_by_itself_holds_out_groups(tmp_path, rows, capsys):
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    from _data import images_of_patches
    from _likelihood.curves import run as run_curves
    from _likelihood.task import Contender

    fits = Counter()
    table = run_curves(
        tmp_path / "curves.csv",
        "patches",
        lambda: (rows[:40], rows[40:]),
        {"ours": Contender(fits, "scikit-learn", timed=True)},
        budgets=[1.0],
        seeds=[0],
        n_threads=1,
        groups_of=lambda train: np.arange(len(train)) // 8,
    )
    task = fits.tasks[-1]
    assert task.groups.tolist() == [k for k in range(5) for _ in range(8)]
    assert len(task.validation) == 0
    assert float(table.rows[-1]["lowest_nats"]) == pytest.approx(
        standard_normal(rows[40:]).min(), abs=1e-5
    )
    images = images_of_patches(np.empty((180 * 7, 2)))
    assert np.array_equal(images, np.repeat(np.arange(180), 7))


def test_leave_one_out_is_what_it_says():
    from _likelihood.classical import leave_one_out

    X = np.random.default_rng(0).standard_normal((30, 3))
    bandwidths = np.array([0.05, 0.4, 2.0])
    slow = [
        np.mean(
            [
                KernelDensity(bandwidth=h).fit(np.delete(X, i, 0)).score_samples(X[[i]])
                for i in range(len(X))
            ]
        )
        for h in bandwidths
    ]
    np.testing.assert_allclose(leave_one_out(X, bandwidths), slow, rtol=1e-5)


def test_who_failed_has_lost(capsys):
    pytest.importorskip("zuko")
    pytest.importorskip("nflows")
    from _likelihood.summary import print_tables

    def row(data, estimator, seed, nats, status="ok"):
        keys = {"data": data, "estimator": estimator, "seed": seed, "status": status}
        return {**keys, "terms": "own", "test_nats": nats, "n_features": "2"}

    print_tables(
        [
            row("a", "skflow", "0", "-1.0"),
            row("a", "skflow", "1", "-2.0"),
            row("a", "rival", "0", "-1.2"),
            row("a", "rival", "1", "", "failed"),
            row("b", "skflow", "0", "", "failed"),
            row("b", "rival", "0", "-9.0"),
        ]
    )
    printed = capsys.readouterr().out
    assert "-1.50 ± 0.71" in printed
    assert "-1.20 (1 failed)" in printed
    wins = printed.splitlines()[-1].split()
    assert wins == ["rival", "1", "of", "2", "2", "of", "3"]
