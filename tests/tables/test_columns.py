"""What every kind of column promises. A new one adds a case and inherits the checks."""

import pickle

import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.base import clone

from skflow._sklearn.formats import Format
from skflow.tables import Bounded, Categorical, Continuous, Count, Inflated, Periodic
from skflow.tables.column import FitSettings
from skflow.tables.kinds import kind_of

N, N2 = 400, 2000
SETTINGS = FitSettings(0, 10)


def features(rng, n=N):
    return rng.normal(size=(n, 2))


def uniform(n):
    return np.random.RandomState(0).uniform(1e-12, 1, n)


def half_rounded(rng, values):
    return np.where(rng.uniform(size=len(values)) < 0.5, np.round(values), np.round(values, -1))


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
    "bounded count": (
        Count(low=0, high=20),
        lambda rng, f: np.minimum(rng.poisson(np.exp(2.5 + 0.3 * f[:, 0])), 20),
        (range(21), None),
    ),
    "count with a top code": (
        Inflated(at=90, others=Count(low=0, high=89)),
        lambda rng, f: np.clip(np.round(60 + 20 * f[:, 0] + 5 * rng.normal(size=len(f))), 0, 90),
        (range(91), None),
    ),
    "count with heaps in its midst": (
        Inflated(at=[30, 31, 40], others=Count(low=0)),
        lambda rng, f: np.where(
            rng.uniform(size=len(f)) < 0.6,
            rng.choice([30, 31, 40], size=len(f)),
            rng.poisson(np.exp(3.5 + 0.2 * f[:, 0])),
        ),
        (range(500), None),
    ),
    "rounded count with a heap": (
        Inflated(at=50, others=Count()),
        lambda rng, f: np.where(
            rng.uniform(size=len(f)) < 0.3, 50, half_rounded(rng, 50 + 10 * f.sum(1))
        ),
        (range(-500, 500), None),
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
        (Count(high=9), [3, 10], "with high=9, but has 10"),
        (Count(low=9, high=8), [3], "low <= high, got low=9 and high=8"),
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
    # Beyond 2**53, floats do not tell a number and its ends apart.
    k = np.floor(10.0 ** np.arange(2, 31))
    log_mass = column.log_prob(k, np.empty((len(k), 0)))
    assert np.isfinite(log_mass).all()
    assert (np.diff(log_mass) < 0).all()


def test_where_the_ends_of_a_number_are_near_its_mass_is_the_density():
    values = np.random.default_rng(0).normal(0, 1e9, N).round()
    column = Count().learn(values, np.empty((N, 0)), None, SETTINGS)
    # No multiples of anything that numbers are rounded to.
    k = np.array([1.0, 1e6 + 1, 1e9 + 1, -2e9 - 1])
    density = column._flow.score_samples(np.zeros((4, 1)), k)
    log_mass = column.log_prob(k, np.empty((4, 0)))
    np.testing.assert_allclose(np.diff(log_mass), np.diff(density), atol=1e-9)


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


def kind_of_numbers(values):
    return kind_of(values, Format(values, "x"))


@pytest.mark.parametrize(
    ("draw", "heaps", "others"),
    [
        (lambda rng, u: np.where(u < 0.1, 90, rng.integers(17, 90, N2)), [90], Count(0, 89)),
        (lambda rng, u: np.where(u < 0.3, 40, rng.integers(0, 101, N2)), [40], Count(0)),
        (lambda rng, u: np.where(u < 0.5, 0, rng.poisson(30, N2)), [0], Count(1)),
        (lambda rng, u: np.where(u < 0.04, 999, rng.poisson(30, N2)), [999], Count(0, 998)),
        (
            lambda rng, u: np.select([u < 0.1, u < 0.3], [-1, 60], rng.poisson(30, N2)),
            [-1, 60],
            Count(0, 59),
        ),
    ],
    ids=["top code", "middle", "zeros", "code", "two"],
)
def test_heaps_of_whole_numbers_are_found(draw, heaps, others):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        kind = kind_of_numbers(draw(rng, rng.uniform(size=N2)).astype(float))
        assert list(kind.at) == heaps
        assert str(kind.others) == str(others)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.poisson(5, N2),
        lambda rng: rng.poisson(40, N2),
        lambda rng: rng.geometric(0.3, N2),
        lambda rng: rng.geometric(0.05, N2),
        lambda rng: rng.integers(0, 100, N2),
        lambda rng: np.round(rng.standard_t(2, N2)),
        lambda rng: half_rounded(rng, rng.normal(130, 20, N2)),
    ],
)
def test_ordinary_whole_numbers_have_no_heaps(draw):
    for seed in range(3):
        values = draw(np.random.default_rng(seed)).astype(float)
        assert isinstance(kind_of_numbers(values), Count)


def test_samples_of_a_count_do_not_fall_on_its_heap():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 101, N).astype(float)
    column = Count(low=0)
    column.leave_out(np.array([40.0, 50, 51]))
    values = values[~np.isin(values, [40, 50, 51])]
    column.learn(values, np.empty((len(values), 0)), None, SETTINGS)
    # Also where a stretch between heaps begins and ends.
    u = np.r_[uniform(4000), np.linspace(1e-12, 1 - 1e-12, 4000)]
    drawn = column.sample(np.empty((8000, 0)), u)
    assert not np.isin(drawn, [40, 50, 51]).any()
    assert np.isin([39, 41, 49, 52], drawn).all()


def test_a_heap_makes_whole_numbers_likelier_than_a_count_alone():
    """Where what says who is on the heap says nothing about others."""

    def draw(rng, n):
        f = features(rng, n)
        is_on_heap = rng.uniform(size=n) < np.where(f[:, 0] > 0.5, 0.9, 0.05)
        return np.where(is_on_heap, 40.0, rng.poisson(np.exp(3 + 0.3 * f[:, 1]))), f

    rng = np.random.default_rng(0)
    (values, f), (test, of_test) = draw(rng, N), draw(rng, 2000)
    scores = []
    for column in (Count(low=0), Inflated(at=40, others=Count(low=0))):
        column.prepare(values, None)
        scores.append(column.learn(values, f, None, SETTINGS).log_prob(test, of_test).mean())
    assert scores[1] > scores[0] + 0.02
