"""What every kind of column promises. A new one adds a case and inherits the checks."""

import pickle

import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.base import clone

from skflow.tables import Bounded, Categorical, Continuous, Count, Inflated, Periodic
from skflow.tables.column import FitSettings

N = 400
SETTINGS = FitSettings(0, 10)


def features(rng, n=N):
    return rng.normal(size=(n, 2))


def uniform(n):
    return np.random.RandomState(0).uniform(1e-12, 1, n)


# Of each kind: the column, how values are drawn, and what its masses or densities are added up
# over: points with a mass each, and the ends of an interval with a density, if there is one.
CASES = {
    "categorical": (
        Categorical(),
        lambda rng, f: (f[:, 0] + rng.normal(size=len(f)) > 0).astype(float) + 2.0,
        ([2, 3, 99], None),
    ),
    "many categories": (
        Categorical(),
        lambda rng, f: np.r_[np.arange(70), rng.integers(0, 20, len(f) - 70)].astype(float),
        ([*range(70), 99], None),
    ),
    "count": (
        Count(low=0),
        lambda rng, f: rng.poisson(np.exp(1 + 0.3 * f[:, 0])).astype(float),
        (range(500), None),
    ),
    "count without a bound": (
        Count(),
        lambda rng, f: np.round(3 * f[:, 1] + rng.normal(size=len(f))),
        (range(-500, 500), None),
    ),
    "continuous": (
        Continuous(),
        lambda rng, f: f[:, 0] + rng.normal(size=len(f)),
        ([], (-60, 60)),
    ),
    "bounded": (Bounded(0, 2), lambda rng, f: 2 * rng.beta(2, 3, len(f)), ([], (0, 2))),
    "bounded below": (Bounded(1), lambda rng, f: 1 + rng.gamma(2, size=len(f)), ([], (1, 80))),
    "bounded above": (
        Bounded(-np.inf, 1),
        lambda rng, f: 1 - rng.gamma(2, size=len(f)),
        ([], (-80, 1)),
    ),
    "periodic": (
        Periodic(360),
        lambda rng, f: (350 + 20 * f[:, 0] + 10 * rng.normal(size=len(f))) % 360,
        ([], (0, 360)),
    ),
    "inflated": (
        Inflated(at=0),
        lambda rng, f: np.where(rng.uniform(size=len(f)) < 0.6, 0, rng.normal(3, 1, len(f))),
        ([0], (-60, 60)),
    ),
    "inflated count": (
        Inflated(at=0, others=Count(low=1)),
        lambda rng, f: np.where(rng.uniform(size=len(f)) < 0.6, 0, 1 + rng.poisson(9, len(f))),
        (range(500), None),
    ),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "_"))
def case(request):
    """Return a column that has learned, its rows, and where it has probability."""
    column, draw, support = CASES[request.param]
    rng = np.random.default_rng(0)
    f = features(rng)
    values = draw(rng, f).astype(float)
    column = clone(column)
    column.refuse(values, "'x'")
    column.prepare(values, None)
    return column.learn(values, f, None, SETTINGS), values, f, support


def test_probabilities_add_up_to_one(case):
    column, _, f, (points, interval) = case
    for row in f[:3]:
        points = np.asarray(points, float)
        total = 0.0
        if len(points):
            total += np.exp(column.log_prob(points, np.tile(row, (len(points), 1)))).sum()
        if interval is not None:
            low, high = interval
            at = np.linspace(low, high, 10_001)
            at = (at[1:] + at[:-1]) / 2
            density = np.exp(column.log_prob(at, np.tile(row, (len(at), 1))))
            on_points = np.isin(at, points)
            total += density[~on_points].sum() * (high - low) / len(at)
        assert total == pytest.approx(1, abs=1e-3)


def test_points_have_a_mass_and_an_interval_has_a_density(case):
    column, _, _, (points, interval) = case
    points = np.asarray(points, float)
    assert column.has_mass(points).all()
    if interval is not None:
        inside = np.setdiff1d(np.linspace(*interval, 50), points)
        assert not column.has_mass(inside).any()
    assert not column.has_mass(np.array([np.nan])).any()


def test_samples_are_in_the_support_and_follow_the_probabilities(case):
    column, _, f, (points, _) = case
    row = np.tile(f[0], (4000, 1))
    drawn = column.sample(row, uniform(4000))
    assert np.isfinite(column.log_prob(drawn, row)).all()
    points = np.asarray(points, float)
    if len(points):
        mass = np.exp(column.log_prob(points, row[: len(points)]))
        errors = np.sqrt(mass * (1 - mass) / len(drawn))
        shares = (drawn[:, None] == points).mean(0)
        assert (np.abs(shares - mass) <= 5 * errors + 1e-3).all()


def test_what_it_learned_is_better_than_no_features(case):
    column, values, f, _ = case
    shuffled = np.random.default_rng(1).permutation(f)
    loss = column.log_prob(values, f).mean() - column.log_prob(values, shuffled).mean()
    assert loss > -0.05


def test_what_others_see_is_missing_where_it_is(case):
    column, values, _, _ = case
    values = values.copy()
    values[::3] = np.nan
    shown = column.as_features(values)
    assert len(shown) == len(values)
    assert np.isnan(shown[::3]).all()
    assert np.isfinite(shown[1::3]).any(1).all()


def test_a_pickle_says_the_same(case):
    column, values, f, _ = case
    again = pickle.loads(pickle.dumps(column))
    np.testing.assert_array_equal(again.log_prob(values, f), column.log_prob(values, f))


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_what_is_to_be_expected_is_in_the_support(case, strategy):
    column, _, f, _ = case
    rows = np.repeat(f[:5], 40, axis=0)
    draws = column.sample(rows, uniform(200)).reshape(5, 40)
    centre = column.centre(draws, strategy)
    assert np.isfinite(column.log_prob(centre, f[:5])).all()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            Bounded(0, 1),
            [0.5, 1.5],
            r"Column 'x' is declared to lie between 0 and 1, but has 1\.5",
        ),
        (Bounded(1, 0), [0.5], "must be low < high, one of them finite at least, got low=1"),
        (Count(), [1, 2.5], r"takes whole numbers, but has 2\.5"),
        (Count(low=0), [3, -1], "with low=0, but has -1"),
        (Periodic(-1), [0.5], "must be a positive number"),
        (Inflated(at=0, others=Bounded(1, 2)), [0, 3], "between 1 and 2, but has 3"),
    ],
)
def test_values_that_do_not_belong_there_are_refused(column, values, message):
    with pytest.raises(ValueError, match=message):
        column.refuse(np.array(values, float), "'x'")


def test_the_density_of_an_angle_closes():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 360, N)  # no gap to cut the circle in
    column = Periodic(360)
    column.prepare(values, None)
    column.learn(values, np.empty((N, 0)), None, SETTINGS)
    at = column._cut + np.array([-1e-6, 1e-6])
    before, behind = column.log_prob(at, np.empty((2, 0)))
    assert before == pytest.approx(behind, abs=1e-3)
    ends = column.log_prob(np.array([0.0, 360.0]), np.empty((2, 0)))
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)


def test_the_mass_of_a_count_far_out_is_finite_and_falls():
    rng = np.random.default_rng(0)
    values = rng.poisson(5, N).astype(float)
    column = Count(low=0).learn(values, np.empty((N, 0)), None, SETTINGS)
    log_mass = column.log_prob(np.array([50.0, 500, 5000, 50_000]), np.empty((4, 0)))
    assert np.isfinite(log_mass).all()
    assert (np.diff(log_mass) < 0).all()


def test_a_count_without_a_bound_has_the_mass_of_the_normal_distribution():
    values = np.round(norm.ppf((np.arange(2000) + 0.5) / 2000) * 20)
    column = Count().learn(values, np.empty((2000, 0)), None, SETTINGS)
    k = np.arange(-40, 41, 10.0)
    expected = np.log(norm.cdf((k + 0.5) / 20) - norm.cdf((k - 0.5) / 20))
    np.testing.assert_allclose(column.log_prob(k, np.empty((9, 0))), expected, atol=0.5)


def test_bounded_samples_are_uniform_where_the_values_are():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, 2000)
    column = Bounded(0, 1).learn(values, np.empty((2000, 0)), None, SETTINGS)
    drawn = column.sample(np.empty((2000, 0)), uniform(2000))
    assert kstest(drawn, "uniform").statistic < 0.06


def test_numbers_that_people_round_have_the_mass_of_what_they_round_to():
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(130, 20, 1000))
    rounded = rng.uniform(size=1000) < 0.6
    values[rounded] = 10 * np.round(values[rounded] / 10)
    column = Count(low=0).learn(values, np.empty((1000, 0)), None, SETTINGS)
    is_rounded = np.array(column._steps) >= 5
    assert column._shares[is_rounded].sum() == pytest.approx(0.6, abs=0.1)
    at = np.array([130.0, 131.0])
    ratio = np.exp(np.diff(column.log_prob(at, np.empty((2, 0)))))[0]
    assert ratio == pytest.approx(0.4 / 6.4, rel=0.35)
    drawn = column.sample(np.empty((4000, 0)), uniform(4000))
    assert np.mean(drawn % 10 == 0) == pytest.approx(0.6 + 0.04, abs=0.06)


def test_numbers_on_a_grid_are_drawn_on_it():
    values = 25 * np.random.default_rng(0).integers(100, 140, 800).astype(float)
    column = Count(low=0).learn(values, np.empty((800, 0)), None, SETTINGS)
    drawn = column.sample(np.empty((1000, 0)), uniform(1000))
    assert np.mean(drawn % 25 == 0) > 0.98
    assert column.log_prob(values, np.empty((800, 0))).mean() > np.log(1 / 40) - 0.3
