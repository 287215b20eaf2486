"""How surprising entries of tables are: categories, counts, heaps, dates and holes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import xlogy
from scipy.stats import norm, poisson
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit

from skflow import FlowOutlierDetector, RelativeGradientFlow, TableFlow
from skflow.tables import Inflated


class Known(BaseEstimator):
    """A density that is what a function says, with masses where another one says so."""

    def __init__(self, log_density=None, masses=None):
        self.log_density = log_density
        self.masses = masses

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return self.log_density(X)


class WithMasses(Known):
    def has_mass(self, X):
        return self.masses(np.asarray(X))


def explained(estimator, X, rows):
    return FlowOutlierDetector(estimator, cv=KFold(3), contamination=0.2).fit(X).explain(rows)


JOINT = pd.DataFrame(
    [[0.3, 0.02, 0.08], [0.05, 0.4, 0.15]], index=["round", "square"], columns=["r", "g", "b"]
)


def of_joint(X):
    shape, colour = np.asarray(X["shape"]), np.asarray(X["colour"])
    known = pd.Series(colour).isin(JOINT.columns).to_numpy()
    mass = [JOINT.loc[s, c] if k else 1e-4 for s, c, k in zip(shape, colour, known, strict=True)]
    return np.log(mass)


@pytest.mark.parametrize("kind", ["text", "category", "polars", "polars categories"])
def test_categories_are_summed_up(kind):
    rows = pd.DataFrame([(s, c) for s in JOINT.index for c in JOINT.columns] * 5)
    X = rows.set_axis(["shape", "colour"], axis=1)
    rows = X[:6]
    if kind == "category":
        X = X.astype({"colour": pd.CategoricalDtype(["b", "r", "g", "never"])})
        rows = X[:6]
    elif kind != "text":
        X, rows = (pl.DataFrame(table.to_dict("list")) for table in (X, rows))
        if kind == "polars categories":
            X, rows = (table.cast({"colour": pl.Categorical}) for table in (X, rows))
    joint = JOINT.to_numpy()
    expected = np.empty((6, 2))
    for j in (0, 1):
        given = joint / joint.sum(j, keepdims=True)
        expected[:, j] = (xlogy(given, given).sum(j, keepdims=True) - np.log(given)).ravel()
    np.testing.assert_allclose(explained(Known(of_joint), X, rows), expected)


def test_a_category_that_was_not_there_is_surprising():
    X = pd.DataFrame([(s, c) for s in JOINT.index for c in JOINT.columns] * 5)
    X = X.set_axis(["shape", "colour"], axis=1)
    surprise = explained(Known(of_joint), X, X[:1].assign(colour="new"))[0, 1]
    given = JOINT.loc["round"] / 0.4
    assert surprise == pytest.approx(np.sum(xlogy(given, given)) + np.log(0.4 / 1e-4))


HEAP, SCALE = 0.0, 2.0


def share(y):
    return 1 / (1 + np.exp(-y))


def heap_and_normal(unit):
    def log_density(X):
        x, y = np.asarray(X, float).T
        others = np.log1p(-share(y)) + norm.logpdf(x, 3 * unit + y * unit, SCALE * unit)
        return np.where(x == HEAP, np.log(share(y)), others) + norm.logpdf(y)

    return log_density


def is_on_heap(X):
    return np.c_[X[:, 0] == HEAP, np.zeros(len(X), bool)]


def rows_with_a_heap(rng, n, unit=1.0):
    y = rng.standard_normal(n)
    x = np.where(rng.uniform(size=n) < share(y), HEAP, unit * rng.normal(3 + y, SCALE))
    return np.c_[x, y]


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e4])
def test_heaps_have_a_mass_and_others_a_density(rng, unit):
    X, rows = rows_with_a_heap(rng, 2000, unit), rows_with_a_heap(rng, 100, unit)
    found = explained(WithMasses(heap_and_normal(unit), is_on_heap), X, rows)[:, 0]
    x, y = rows.T
    p, on_heap = share(y), x == HEAP
    of_class = xlogy(p, p) + xlogy(1 - p, 1 - p) - np.log(np.where(on_heap, p, 1 - p))
    residual = (x / unit - 3 - y) / SCALE
    expected = of_class + np.where(on_heap, 0, (residual**2 - 1) / 2)
    np.testing.assert_allclose(found, expected, atol=0.15)
    assert np.abs(found - expected).mean() < 0.03
    assert abs(expected.mean()) < 0.3  # what is usual has none


def entropy(mean):
    k = np.arange(6 * mean + 50)
    log_mass = poisson.logpmf(k, mean)
    return -np.sum(np.exp(log_mass) * np.where(np.exp(log_mass) > 0, log_mass, 0))


@pytest.mark.parametrize(("mean", "tolerance"), [(3, 0.01), (30, 0.03), (20_000, 0.1)])
def test_whole_numbers_are_summed_up(rng, mean, tolerance):
    """The few that there are one by one, and many as numbers are."""
    X, rows = (rng.poisson(mean, size=(n, 1)).astype(float) for n in (3000, 50))

    def log_mass(X):
        return poisson.logpmf(np.asarray(X)[:, 0], mean)

    found = explained(WithMasses(log_mass, lambda X: np.ones(X.shape, bool)), X, rows)
    expected = -entropy(mean) - log_mass(rows)
    np.testing.assert_allclose(found[:, 0], expected, atol=tolerance)


def test_a_heap_among_many_whole_numbers(rng):
    def draw(n):
        return np.where(rng.uniform(size=n) < 0.3, 0, 25 * rng.poisson(9000, n)).astype(float)

    def log_mass(X):
        x = np.asarray(X)[:, 0]
        others = np.where(x % 25 == 0, np.log(0.7) + poisson.logpmf(x // 25, 9000), -np.inf)
        return np.where(x == 0, np.log(0.3), others)

    rows = draw(60)
    one = WithMasses(log_mass, lambda X: np.ones(X.shape, bool))
    found = explained(one, draw(3000)[:, None], rows[:, None])[:, 0]
    usual = xlogy(0.3, 0.3) + xlogy(0.7, 0.7)
    others = usual - np.log(0.7) - entropy(9000) - poisson.logpmf(rows // 25, 9000)
    np.testing.assert_allclose(found, np.where(rows == 0, usual - np.log(0.3), others), atol=0.1)


@pytest.mark.parametrize("kind", ["pandas", "zone", "polars", "polars days"])
def test_dates_are_numbers_on_their_way(rng, kind):
    days = rng.normal(1000, 100, size=400).round()
    X = pd.DataFrame({"day": pd.to_datetime(days, unit="D"), "kind": rng.choice(["a", "b"], 400)})
    if kind == "zone":
        X["day"] = X["day"].dt.tz_localize("UTC")
    elif kind != "pandas":
        X = pl.DataFrame({"day": X["day"].to_numpy(), "kind": X["kind"].to_list()})
        X = X.with_columns(pl.col("day").cast(pl.Date)) if kind == "polars days" else X
    types = list(X.dtypes)

    def log_density(X):
        assert list(X.dtypes) == types
        day = np.asarray(pd.to_datetime(np.asarray(X["day"])).tz_localize(None))
        return norm.logpdf((day - np.datetime64("1970-01-01")) / np.timedelta64(1, "D"), 1000, 100)

    found = explained(Known(log_density), X, X[:50])
    expected = (((days[:50] - 1000) / 100) ** 2 - 1) / 2
    np.testing.assert_allclose(found[:, 0], expected, atol=0.1)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-12)


def test_holes_surprise_nobody_and_stay(rng):
    X = rng.standard_normal((200, 3))
    X[::4, 1] = np.nan

    def log_density(X):
        return np.nansum(norm.logpdf(X), axis=1) + np.isnan(X[:, 1]) * 5.0

    found = explained(Known(log_density), X, X[:20])
    np.testing.assert_array_equal(found[::4, 1], 0)
    known = ~np.isnan(X[:20])
    np.testing.assert_allclose(found[known], ((X[:20] ** 2 - 1) / 2)[known], atol=0.1)


def test_holes_elsewhere_change_nothing_but_what_the_estimator_says(rng):
    X = rng.standard_normal((100, 3))
    some = X[:5].copy()
    some[0] = np.nan
    density = Known(lambda X: norm.logpdf(np.nan_to_num(X)).sum(1))
    np.testing.assert_allclose(explained(density, X, some)[1:], explained(density, X, X[1:5]))


def visits(n, seed=0):
    """Return a frame in which a shop's kind says nearly all about the others."""
    rng = np.random.default_rng(seed)
    shop = rng.choice(["baker", "grocer"], size=n)
    is_baker = shop == "baker"
    return pd.DataFrame(
        {
            "shop": shop,
            "price": rng.normal(np.where(is_baker, 4.0, 40.0), 1.5),
            "visitors": rng.poisson(np.where(is_baker, 60, 12)),
            "waste": np.where(rng.uniform(size=n) < 0.5, 0.0, rng.gamma(4, size=n)),
            "is_open": rng.uniform(size=n) < np.where(is_baker, 0.97, 0.03),
        }
    )


def planted():
    """Return rows of which the entry of one column belongs to the other shop, and the columns."""
    rows = pd.DataFrame(
        {
            "shop": ["grocer", "baker", "baker", "baker", "grocer"],
            "price": [4.0, 40.0, 4.0, 4.0, 40.0],
            "visitors": [60, 60, 12, 60, 12],
            "waste": [0.0, 3.0, 0.0, 60.0, 0.0],
            "is_open": [True, True, True, True, True],
        }
    )
    return rows, [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def detector(while_mixtures_are_quick):
    with while_mixtures_are_quick():
        table = TableFlow(max_iter=10, n_particles=50, random_state=0)
        split = ShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
        return FlowOutlierDetector(table, cv=split).fit(visits(300))


def test_the_column_that_is_odd_is_named(detector):
    assert isinstance(detector.estimators_[0].columns_["waste"], Inflated)
    rows, odd = planted()
    surprise = detector.explain(rows)
    assert surprise.argmax(1).tolist() == odd
    assert (surprise.max(1) > 1.5).all()
    usual = detector.explain(visits(60, seed=1))
    assert (np.abs(usual.mean(0)) < 0.8).all()


def test_holes_elsewhere_leave_the_marginal_density(detector):
    rows, odd = planted()
    rows["waste"] = [np.nan, 3.0, np.nan, 60.0, np.nan]
    rows["visitors"] = [60, None, 12, None, 12]
    surprise = detector.explain(rows)
    assert (surprise[rows.isna().to_numpy()] == 0).all()
    assert surprise.argmax(1).tolist() == odd


@pytest.mark.usefixtures("quick_mixtures")
def test_fitted_rows_are_judged_by_estimators_without_them():
    X = visits(90)[["shop", "price"]]
    table = TableFlow(max_iter=1, random_state=0)
    detector = FlowOutlierDetector(table, cv=KFold(2), contamination=0.2).fit(X)
    for k, rows in ((0, np.arange(3)), (1, np.arange(60, 63))):
        alone = FlowOutlierDetector(Known(detector.estimators_[k].score_samples), cv=KFold(2))
        expected = alone.set_params(contamination=0.2).fit(X).explain(X.iloc[rows])
        np.testing.assert_allclose(detector.explain(X.iloc[rows], fitted_rows=rows), expected)
    with pytest.raises(ValueError, match="one position for each of the 3 rows"):
        detector.explain(X[:3], fitted_rows=[0])


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("kind", ["nullable", "polars"])
def test_frames_of_any_type_are_explained_alike(kind):
    columns = ["shop", "price", "is_open"]
    table = TableFlow(max_iter=2, n_particles=20, random_state=0)
    one = FlowOutlierDetector(table, cv=KFold(3)).fit(visits(120)[columns])
    X, (rows, _) = visits(120)[columns], planted()
    rows = rows[columns]
    expected = one.explain(rows)
    if kind == "nullable":
        types = {"shop": "category", "price": "Float64", "is_open": "boolean"}
        X, rows = X.astype(types), rows.astype(types)
    else:
        X, rows = (pl.DataFrame(each.to_dict("list")) for each in (X, rows))
    other = FlowOutlierDetector(table, cv=KFold(3)).fit(X)
    np.testing.assert_allclose(other.explain(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("quick_mixtures")
def test_arrays_of_objects_and_searches(rng):
    X = visits(60)[["shop", "price"]].to_numpy(dtype=object)
    X[3, 1] = None
    search = GridSearchCV(TableFlow(max_iter=1, n_particles=20, random_state=0), {}, cv=2)
    surprise = explained(search, X, X[:5])
    assert surprise[3, 1] == 0
    assert np.isfinite(surprise).all()
    counts = rng.poisson(3, size=(60, 1)).astype(float)
    detector = FlowOutlierDetector(search, cv=KFold(3), contamination=0.2).fit(counts)
    mass = np.exp(detector.score_samples(np.arange(20.0)[:, None]))
    expected = xlogy(mass, mass).sum() / mass.sum() - np.log(mass[3])
    assert detector.explain([[3.0]])[0, 0] == pytest.approx(expected, abs=0.05)


def test_who_takes_no_text_says_so():
    with pytest.raises(ValueError, match=r"Columns of X do not hold numbers: 'shop'"):
        FlowOutlierDetector(RelativeGradientFlow()).fit(visits(30))


def test_columns_of_which_nothing_is_known_are_refused():
    X = pd.DataFrame({"a": np.arange(12.0), "b": [[1]] * 12})
    detector = FlowOutlierDetector(Known(lambda X: np.zeros(len(X))), cv=KFold(3))
    detector.set_params(contamination=0.2).fit(X)
    with pytest.raises(ValueError, match=r"none of these, in column 1 \('b'\)"):
        detector.explain(X)
