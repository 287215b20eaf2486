"""The density estimator for tables."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp, multivariate_normal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import FlowImputer, FlowOutlierDetector, TableFlow
from skflow.metrics import mutual_information
from skflow.tables import Bounded, Categorical, Continuous, Count, Inflated, Periodic

QUICK = {"max_iter": 3, "n_particles": 50, "random_state": 0}


def frame(n, seed=0, holes=0.0):
    """Return a frame with a column of each kind, in which a third of all depends on "kind"."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], size=n, p=[0.5, 0.3, 0.2])
    x = rng.normal(np.where(kind == "a", 0, np.where(kind == "b", 3, 6)), 1)
    table = pd.DataFrame(
        {
            "kind": pd.Categorical(kind, categories=["c", "b", "a", "never"]),
            "x": x,
            "share": rng.beta(1 + np.abs(x), 3),
            "n": pd.array(rng.poisson(20 + 3 * x), dtype="Int64"),
            "rain": np.where(rng.uniform(size=n) < 0.8, 0, rng.gamma(2, size=n)),
            "angle": (90 + 30 * rng.normal(size=n) + 40 * x) % 360,
            "is_new": rng.uniform(size=n) < 0.5,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9**6, n), "s"),
        }
    )
    if not holes:
        return table
    table["is_new"] = table["is_new"].astype("boolean")
    return table.mask(pd.DataFrame(rng.uniform(size=table.shape) < holes, columns=table.columns))


KINDS = {"angle": Periodic(360), "share": Bounded(0, 1)}


@pytest.fixture(scope="module")
def fitted(while_mixtures_are_quick):
    with while_mixtures_are_quick():
        return TableFlow(KINDS, **QUICK).fit(frame(300, holes=0.1))


def test_kinds_are_found(fitted):
    found = {name: type(column) for name, column in fitted.columns_.items()}
    assert found == {
        "kind": Categorical,
        "x": Continuous,
        "share": Bounded,
        "n": Count,
        "rain": Inflated,
        "angle": Periodic,
        "is_new": Categorical,
        "day": Continuous,
    }
    assert fitted.columns_["rain"].at == [0.0]
    assert fitted.columns_["rain"].others.low == 0.0


def test_which_entries_have_a_mass(fitted):
    table = frame(100, holes=0.1)
    has_mass = pd.DataFrame(fitted.has_mass(table), columns=table.columns)
    for name in ("kind", "n", "is_new"):
        assert (has_mass[name] == table[name].notna().to_numpy()).all()
    assert (has_mass["rain"] == (table["rain"] == 0).to_numpy()).all()
    assert not has_mass[["x", "share", "angle", "day"]].to_numpy().any()


def test_samples_are_like_the_table(fitted):
    table = frame(300, holes=0.1)
    sample = fitted.sample(200, random_state=0)
    assert sample.dtypes.equals(table.dtypes)
    assert list(sample.columns) == list(table.columns)
    assert 0.05 < sample.isna().to_numpy().mean() < 0.15
    assert sample["share"].dropna().between(0, 1).all()
    assert sample["angle"].dropna().between(0, 360).all()
    assert (sample["n"].dropna() >= 0).all()
    assert set(sample["kind"].dropna()) <= {"a", "b", "c"}
    assert (sample["rain"].dropna() >= 0).all()
    assert 0.65 < (sample["rain"].dropna() == 0).mean() < 0.95
    again = fitted.sample(200, random_state=0)
    pd.testing.assert_frame_equal(sample, again)


def test_what_is_observed_stays_and_what_is_missing_is_filled(fitted):
    table = frame(40, seed=1, holes=0.3)
    drawn = fitted.sample_given(table, 3, random_state=0)
    assert len(drawn) == 120
    assert not drawn.isna().to_numpy().any()
    observed = np.repeat(table.notna().to_numpy(), 3, axis=0)
    given = table.loc[table.index.repeat(3)].reset_index(drop=True)
    for j, name in enumerate(table.columns):
        rows = observed[:, j]
        if name == "day":  # kept to a microsecond
            gap = (drawn[name][rows] - given[name][rows]).abs().max()
            assert gap < pd.Timedelta("1us")
        else:
            assert (drawn[name][rows] == given[name][rows]).all()
    filled = fitted.impute(table, strategy="median")
    assert filled.dtypes.equals(table.dtypes)
    assert not filled.isna().to_numpy().any()


def test_conditional_samples_follow_what_is_given(fitted):
    table = frame(2, holes=0.1)
    nothing = table.reindex([98, 99]).astype(table.dtypes)
    nothing["kind"] = pd.Categorical(["a", "c"], categories=["c", "b", "a", "never"])
    drawn = fitted.sample_given(nothing, 200, random_state=0)
    first, second = drawn["x"][:200], drawn["x"][200:]
    assert second.mean() - first.mean() > 3


def test_an_observed_category_that_was_not_there_stays(fitted):
    table = frame(2, holes=0.1)
    table["kind"] = ["new", "never"]
    table.loc[:, "x"] = np.nan
    for completed in (fitted.sample_given(table, random_state=0), fitted.impute(table)):
        assert completed["kind"].tolist() == ["new", "never"]
        assert completed["x"].notna().all()


def test_a_row_has_the_same_density_whatever_its_neighbours(fitted):
    table = frame(12, seed=4, holes=0.3)
    together = fitted.score_samples(table)
    alone = [fitted.score_samples(table.iloc[[k]])[0] for k in range(len(table))]
    np.testing.assert_allclose(alone, together, rtol=1e-6)


def test_holes_behind_all_that_is_observed_cost_nothing(fitted):
    table = frame(5, seed=4, holes=1e-9)
    table[["kind", "is_new"]] = pd.NA
    table = table.astype(frame(5, holes=0.1).dtypes)
    _, error = fitted.score_samples(table, return_error=True)
    assert (error == 0).all()


def test_scores_have_errors_where_rows_have_holes(fitted):
    table = frame(30, seed=2, holes=0.2)
    log_prob, error = fitted.score_samples(table, return_error=True)
    holes = table.isna().to_numpy().any(1)
    assert np.isfinite(log_prob).all()
    assert (error[~holes] == 0).all()
    assert (error < 1).all()
    np.testing.assert_array_equal(fitted.score_samples(table), log_prob)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(table), log_prob)


def test_a_category_that_was_not_there_has_some_mass(fitted):
    table = frame(5, seed=2)
    table["kind"] = "never"
    table["is_new"] = table["is_new"].astype("boolean")
    log_prob = fitted.score_samples(table)
    assert np.isfinite(log_prob).all()
    assert (log_prob < fitted.score_samples(frame(5, seed=2))).all()


def gaussian(n, seed=0):
    rng = np.random.default_rng(seed)
    covariance = np.array([[1.0, 0.8, 0.3], [0.8, 2.0, -0.4], [0.3, -0.4, 0.7]])
    return rng.multivariate_normal([1, 0, -2], covariance, n), covariance


@pytest.fixture(scope="module")
def of_gaussian(while_mixtures_are_quick):
    X, _ = gaussian(3000)
    X[np.random.default_rng(1).uniform(size=X.shape) < 0.2] = np.nan
    with while_mixtures_are_quick():
        return TableFlow(max_iter=10, n_particles=500, random_state=0).fit(X[~np.isnan(X).all(1)])


def test_the_density_of_what_is_observed_is_the_marginal(of_gaussian):
    """Of the fitted density itself, by a grid over what is missing, and of the truth nearly."""
    X, covariance = gaussian(40, seed=5)
    grid = np.linspace(-12, 12, 1201)
    rows = X[:4].copy()
    rows[:, 1] = np.nan
    found, error = of_gaussian.score_samples(rows, return_error=True)
    for row, log_prob, wide in zip(X[:4], found, error, strict=True):
        filled = np.tile(row, (len(grid), 1))
        filled[:, 1] = grid
        mass = np.exp(of_gaussian.score_samples(filled)).sum() * (grid[1] - grid[0])
        assert log_prob == pytest.approx(np.log(mass), abs=5 * wide + 1e-3)
    X[:, 1] = np.nan
    truth = multivariate_normal([1, -2], covariance[np.ix_([0, 2], [0, 2])])
    gap = of_gaussian.score_samples(X) - truth.logpdf(X[:, [0, 2]])
    assert abs(gap.mean()) < 0.1


def test_a_marginal_is_the_density_of_its_columns(of_gaussian):
    X, covariance = gaussian(40, seed=5)
    pair = of_gaussian.marginal([2, 0])
    rows = np.full_like(X, np.nan)
    rows[:, [0, 2]] = X[:, [0, 2]]
    expected = of_gaussian.score_samples(rows)
    np.testing.assert_array_equal(pair.score_samples(X[:, [2, 0]]), expected)
    assert pair.score(X[:, [2, 0]]) == pytest.approx(expected.mean())
    drawn = pair.sample(2000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), [-2, 1], atol=0.15)
    np.testing.assert_allclose(np.cov(drawn.T), covariance[np.ix_([2, 0], [2, 0])], atol=0.2)
    with pytest.raises(ValueError, match="X must have the 2 columns"):
        pair.score_samples(X)


def test_marginals_of_frames_have_names_and_say_what_columns_share(fitted):
    kind = fitted.marginal(["kind"])
    masses = np.exp(kind.score_samples(pd.DataFrame({"kind": ["a", "b", "c"]})))
    assert masses.sum() == pytest.approx(1, abs=0.05)
    assert list(kind.sample(3, random_state=0).columns) == ["kind"]
    marginals = (kind, fitted.marginal(["x"]))
    both = fitted.marginal(["kind", "x"])
    shared = mutual_information(both, ["kind"], ["x"], marginals=marginals, n_samples=200)
    assert shared.value > 0.3
    for columns in ([], ["nobody"], ["x", "x"]):
        with pytest.raises(ValueError, match="columns must be one or several of"):
            fitted.marginal(columns)


def test_draws_of_what_is_missing_have_the_conditional_distribution(of_gaussian):
    _, covariance = gaussian(1)
    row = np.array([[2.0, np.nan, -1.5]])
    drawn = of_gaussian.sample_given(row, 500, random_state=0)[:, 1]
    known, other = np.ix_([0, 2], [0, 2]), covariance[1, [0, 2]]
    gain = other @ np.linalg.inv(covariance[known])
    mean = gain @ (row[0, [0, 2]] - [1, -2])
    scale = np.sqrt(covariance[1, 1] - gain @ other)
    truth = np.random.default_rng(0).normal(mean, scale, 2000)
    assert ks_2samp(drawn, truth).statistic < 0.12


def test_holes_are_worth_more_than_complete_rows_alone(while_mixtures_are_quick):
    X, _ = gaussian(200, seed=7)
    X = np.c_[X, X.sum(1) + np.random.default_rng(0).normal(size=200)]
    X, test = X[:120], X[120:]
    X[np.random.default_rng(3).uniform(size=X.shape) < 0.35] = np.nan
    X = X[~np.isnan(X).all(1)]
    complete = X[~np.isnan(X).any(1)]
    with while_mixtures_are_quick():
        table = TableFlow(max_iter=10, random_state=0)
        assert clone(table).fit(X).score(test) > clone(table).fit(complete).score(test) + 0.1


@pytest.mark.usefixtures("quick_mixtures")
def test_holes_that_go_along_with_a_category_are_filled_as_it_says():
    # Of kind "b" hardly any length is known, which is three times that of kind "a".
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b"], 600)
    length = np.where(kind == "a", 1.0, 3.0) * (1 + 0.1 * rng.normal(size=600))
    width = length + 0.1 * rng.normal(size=600)
    table = pd.DataFrame({"kind": kind, "length": length, "width": width})
    table.loc[(kind == "b") & (rng.uniform(size=600) < 0.9), ["length", "width"]] = np.nan
    fitted = TableFlow(max_iter=30, random_state=0).fit(table)
    drawn = fitted.sample(2000, random_state=0)
    drawn = fitted.sample_given(drawn, random_state=0)
    means = drawn.groupby("kind")[["length", "width"]].mean()
    np.testing.assert_allclose(means.loc["a"], 1, atol=0.1)
    np.testing.assert_allclose(means.loc["b"], 3, atol=0.3)
    assert (drawn["kind"] == "b").mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.usefixtures("quick_mixtures")
def test_a_line_for_each_column_if_asked(capsys):
    table = frame(60)[["kind", "x", "is_new", "day"]]
    TableFlow(**QUICK).fit(table)
    assert not capsys.readouterr().out
    lines = [
        "TableFlow: columns 1 to 2 of 4: x, day",
        "TableFlow: column 3 of 4: kind",
        "TableFlow: column 4 of 4: is_new",
    ]
    for n_jobs in (None, 2):
        with joblib.parallel_config(backend="threading"):
            TableFlow(**QUICK, verbose=True, n_jobs=n_jobs).fit(table)
        assert capsys.readouterr().out.splitlines() == lines
    table.loc[0, "x"] = np.nan
    TableFlow(**QUICK, verbose=True).fit(table)
    again = [f"{line} once more" for line in lines]  # with what has been completed
    assert capsys.readouterr().out.splitlines() == lines + again


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_either_library_give_the_same(library):
    table = frame(120)[["kind", "x", "n", "is_new"]].astype({"n": "int64", "kind": str})
    expected = TableFlow(**QUICK).fit(table)
    if library == "polars":
        polars = pytest.importorskip("polars")
        table = polars.DataFrame(table.to_dict("list"))
    one = TableFlow(**QUICK).fit(table)
    reference = frame(120)[["kind", "x", "n", "is_new"]].astype({"n": "int64", "kind": str})
    np.testing.assert_allclose(one.score_samples(table), expected.score_samples(reference))
    sample = one.sample(5, random_state=0)
    assert type(sample) is type(table)
    assert list(sample.dtypes) == list(table.dtypes)


@pytest.mark.usefixtures("quick_mixtures")
def test_dates_of_polars_come_back():
    polars = pytest.importorskip("polars")
    days = pd.date_range("2024-01-01", periods=60)
    table = polars.DataFrame({"day": days.to_numpy(), "at": (days - days[0]).to_numpy()})
    table = table.with_columns(polars.col("day").cast(polars.Date).alias("date"))
    sample = TableFlow(**QUICK).fit(table).sample(5, random_state=0)
    assert list(sample.dtypes) == list(table.dtypes)


@pytest.mark.usefixtures("quick_mixtures")
def test_types_of_pandas_come_back():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "whole": pd.array(rng.poisson(30, 80), dtype="Int64"),
            "real": pd.array(rng.normal(size=80), dtype="Float64"),
            "span": pd.to_timedelta(rng.integers(1, 9**9, 80), "us"),
            "yes": pd.array(rng.uniform(size=80) < 0.5, dtype="boolean"),
            "zone": pd.date_range("2024-01-01", periods=80, tz="UTC"),
        },
        index=np.arange(80) + 7,
    )
    flow = TableFlow(**QUICK).fit(table)
    kinds = [type(column) for column in flow.columns_.values()]
    assert kinds == [Count, Continuous, Continuous, Categorical, Continuous]
    assert flow.sample(3, random_state=0).dtypes.equals(table.dtypes)
    table.loc[10, :] = pd.NA
    filled = flow.impute(table)
    assert filled.dtypes.equals(table.dtypes)
    pd.testing.assert_frame_equal(filled.drop(index=10), table.drop(index=10))


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("kind", ["int64", "Int64", "category", "str", "bool"])
def test_the_median_of_numbers_that_are_categories_is_one_of_them(kind):
    years = np.repeat([2007, 2008, 2009], [60, 30, 50])  # the median is not the most frequent
    x = np.random.default_rng(0).normal(size=140)
    table = pd.DataFrame({"year": pd.Series(years == 2007 if kind == "bool" else years), "x": x})
    table["year"] = table["year"].astype(kind)
    flow = TableFlow(**QUICK | {"n_particles": 1000}).fit(table)
    assert isinstance(flow.columns_["year"], Categorical)
    gap = pd.DataFrame({"year": [None], "x": [np.nan]})
    mean, median = (flow.impute(gap, strategy)["year"].iloc[0] for strategy in ("mean", "median"))
    expected = {"bool": (False, False), "int64": (2007, 2008), "Int64": (2007, 2008)}
    assert (str(mean), str(median)) == tuple(map(str, expected.get(kind, (2007, 2007))))


def test_the_lower_median_of_categories_is_in_their_midst():
    column = Categorical()
    column.prepare(np.array([2007.0, 2008, 2009]), None)
    draws = np.array([[2007.0] * 4 + [2008] * 3 + [2009] * 3, [2007] * 5 + [2009] * 5])
    assert column.centre(draws, "mean").tolist() == [2007, 2007]
    assert column.centre(draws, "median").tolist() == [2008, 2007]


@pytest.mark.usefixtures("quick_mixtures")
def test_strings_of_an_array_are_categories(rng):
    X = np.array([["a", 1.5], ["b", None], ["a", 2.5]] * 20, dtype=object)
    X[:, 1] = [None if k % 5 == 0 else float(v) for k, v in enumerate(rng.normal(size=60))]
    table = TableFlow(**QUICK).fit(X)
    assert [type(column) for column in table.columns_.values()] == [Categorical, Continuous]
    filled = table.impute(X)
    assert all(isinstance(value, float) for value in filled[:, 1])
    assert set(filled[:, 0]) == {"a", "b"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"nobody": "count"}, r"columns declares 'nobody', but the columns of X are \['x'\]"),
        (
            {"x": "counts"},
            r"columns\['x'\] must be one of \['categorical', 'continuous', 'count'\]",
        ),
        ({"x": Bounded(0, 1)}, "Column 'x' is declared to lie between 0 and 1"),
        ({"x": "count"}, "takes whole numbers"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(columns, message):
    table = pd.DataFrame({"x": [0.5, 1.5, 2.5]})
    flow = TableFlow(columns)
    with pytest.raises(ValueError, match=message):
        flow.fit(table)
    assert vars(flow) == vars(TableFlow(columns))


def test_columns_without_entries_and_infinities_are_refused():
    with pytest.raises(ValueError, match="Column 'y' has no entries"):
        TableFlow().fit(pd.DataFrame({"x": [1.0, 2, 3], "y": [np.nan] * 3}))
    with pytest.raises(ValueError, match="Column 'x' contains infinity"):
        TableFlow().fit(pd.DataFrame({"x": [1.0, np.inf, 3]}))


@pytest.mark.usefixtures("quick_mixtures")
def test_weights_are_repeated_rows_of_a_classifier():
    table = frame(80)[["kind", "is_new"]]
    weights = np.arange(80) % 3
    one = TableFlow(**QUICK).fit(table, sample_weight=weights)
    other = TableFlow(**QUICK).fit(table.loc[table.index.repeat(weights)])
    assert one.score(table) == pytest.approx(other.score(table), abs=0.1)


def test_columns_may_be_learned_in_processes_of_their_own():
    table = frame(60, holes=0.1)[["kind", "n", "is_new"]]
    one, several = (TableFlow(**QUICK, n_jobs=n_jobs).fit(table) for n_jobs in (1, 2))
    np.testing.assert_allclose(several.score_samples(table), one.score_samples(table), rtol=1e-6)
    pd.testing.assert_frame_equal(several.impute(table), one.impute(table))


@pytest.mark.usefixtures("quick_mixtures")
def test_a_search_and_an_imputer(fitted):
    table = frame(90, holes=0.1)[["kind", "x", "is_new"]]
    search = GridSearchCV(TableFlow(**QUICK), {"max_iter": [1, 2]}, cv=2).fit(table)
    assert np.isfinite(search.best_score_)
    imputer = FlowImputer(search.best_estimator_, strategy="sample", random_state=0)
    filled = imputer.fit_transform(table)
    assert not filled.isna().to_numpy().any()
    assert list(imputer.get_feature_names_out()) == ["kind", "x", "is_new"]
    pd.testing.assert_frame_equal(filled, imputer.transform(table))


@pytest.mark.usefixtures("quick_mixtures")
def test_rows_of_a_table_can_be_outliers():
    table = frame(120, holes=0.05)[["kind", "x"]]
    strange = table.head(2).copy()
    strange["kind"], strange["x"] = pd.Categorical(["a", "a"], table["kind"].cat.categories), 30.0
    detector = FlowOutlierDetector(TableFlow(**QUICK), cv=3, random_state=0).fit(table)
    assert (detector.p_values(strange) <= 1 / 121).all()


@parametrize_with_checks(
    [TableFlow(**QUICK | {"max_iter": 1}), FlowImputer(TableFlow(**QUICK | {"max_iter": 1}))]
)
@pytest.mark.usefixtures("quick_mixtures")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.usefixtures("quick_mixtures")
def test_draws_stay_within_the_ranges_of_the_fit():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "share": rng.uniform(size=300),
            "price": rng.standard_t(1.5, size=300),
            "visits": rng.negative_binomial(1, 0.05, 300),
            "angle": rng.uniform(0, 360, 300),
        }
    )
    fitted = TableFlow({"angle": Periodic(360)}, max_iter=5, random_state=0).fit(table)
    numbers = ["share", "price", "visits"]
    questions = pd.DataFrame(np.nan, index=range(50), columns=table.columns)
    questions["price"] = 2 * table["price"].max()  # what is observed stays
    drawn = fitted.sample_given(questions, n_samples=5, random_state=0)
    assert (drawn["price"] == 2 * table["price"].max()).all()
    drawn["price"] = 0.0
    for rows in (fitted.sample(3000, random_state=0), drawn, fitted.impute(questions[:5])):
        inside = (rows[numbers] >= table[numbers].min()) & (rows[numbers] <= table[numbers].max())
        assert inside[["share", "visits"]].all(axis=None)
        assert inside["price"].all() or (rows["price"] == 2 * table["price"].max()).all()
        assert rows["angle"].between(0, 360, inclusive="left").all()
    # Rows beyond it are drawn anew, and do not heap at its ends.
    ends = table["price"].agg(["min", "max"])
    assert not fitted.sample(3000, random_state=0)["price"].isin(ends).any()
