import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import validate_data

from skflow import RelativeGradientFlow
from skflow.preprocessing import (
    DequantizationTransformer,
    LogitTransformer,
    log_abs_det_jacobian,
    score_in_original_units,
    score_samples_in_original_units,
)

N_COLUMNS = 3


@pytest.fixture
def X(rng):
    """Positive, skewed and correlated."""
    return np.exp(rng.normal(size=(60, N_COLUMNS)) @ rng.normal(size=(N_COLUMNS, N_COLUMNS)) / 2)


def numerical_log_det(transform, X):
    """Return log|det| of the Jacobian by central differences."""
    h = 1e-5
    log_det = np.empty(len(X))
    for i, x in enumerate(X):
        shifts = h * np.maximum(abs(x), 1e-3) * np.eye(len(x))
        ends = transform(np.concatenate([x + shifts, x - shifts]))
        jacobian = (ends[: len(x)] - ends[len(x) :]) / (2 * shifts.diagonal()[:, None])
        log_det[i] = np.linalg.slogdet(jacobian)[1]
    return log_det


TRANSFORMERS = [
    StandardScaler(),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False),
    MinMaxScaler((-2, 5)),
    MinMaxScaler((-5, -2)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_scaling=False),
    RobustScaler(unit_variance=True),
    PowerTransformer(),
    PowerTransformer(standardize=False),
    PowerTransformer("box-cox"),
    PowerTransformer("box-cox", standardize=False),
    PCA(),
    PCA(whiten=True),
    FunctionTransformer(),
    LogitTransformer(-50, 500),
    LogitTransformer([-50, -np.inf, 0], [500, np.inf, 500], alpha=0.01),
    DequantizationTransformer(),
    make_pipeline(MinMaxScaler(), LogitTransformer(-1, 2), "passthrough", PCA(whiten=True)),
    make_pipeline(
        PowerTransformer("box-cox"), make_pipeline(PowerTransformer(), StandardScaler())
    ),
    ColumnTransformer([("a", PowerTransformer(), [2]), ("b", "passthrough", slice(0, 2))]),
    ColumnTransformer(
        [
            ("a", make_pipeline(StandardScaler(), PowerTransformer()), [True, False, True]),
            ("none", MinMaxScaler(), []),
        ],
        remainder=LogitTransformer(-50, 500),
    ),
]


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_jacobians_against_differences(transformer, X):
    before = X.copy()
    transformer.fit(X)
    expected = numerical_log_det(transformer.transform, X)
    log_det = log_abs_det_jacobian(transformer, X)
    assert log_det.shape == (60,)
    assert log_det.dtype == np.float64
    np.testing.assert_allclose(log_det, expected, atol=1e-6)
    np.testing.assert_array_equal(X, before)


def test_yeo_johnson_on_both_sides_of_zero(rng):
    X = rng.normal(size=(60, 2)) ** 3
    transformer = PowerTransformer().fit(X)
    expected = numerical_log_det(transformer.transform, X)
    np.testing.assert_allclose(log_abs_det_jacobian(transformer, X), expected, atol=1e-6)


def test_a_transformer_that_works_in_place(X):
    transformer = PowerTransformer(copy=False).fit(X.copy())
    expected = log_abs_det_jacobian(PowerTransformer().fit(X), X)
    np.testing.assert_allclose(log_abs_det_jacobian(transformer, X.copy()), expected)


def test_float32_lists_and_passthrough(X):
    scaler = StandardScaler().fit(X.astype(np.float32))
    expected = -np.log(X.std(axis=0)).sum()
    for rows in (X.astype(np.float32), X.tolist()):
        np.testing.assert_allclose(log_abs_det_jacobian(scaler, rows), expected, rtol=1e-5)
    np.testing.assert_array_equal(log_abs_det_jacobian("passthrough", X), np.zeros(60))


class Cubes(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A bijection of a user's own."""

    def fit(self, X, y=None):
        validate_data(self, X)
        return self

    def transform(self, X):
        return validate_data(self, X, reset=False) ** 3

    def log_abs_det_jacobian(self, X):
        return np.log(3 * validate_data(self, X, reset=False) ** 2).sum(axis=1)


def test_a_step_of_ones_own(X):
    pipeline = make_pipeline(StandardScaler(), Cubes())
    pipeline.fit(X)
    expected = numerical_log_det(pipeline.transform, X)
    np.testing.assert_allclose(log_abs_det_jacobian(pipeline, X), expected, atol=1e-6)


def test_frames_by_name(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    blocks = {
        "names": [("x", PowerTransformer(), ["c", "a"])],
        "one name": [("x", MinMaxScaler((0, 3)), ["b"]), ("y", Cubes(), slice("c", None))],
        "slice of names": [("x", PowerTransformer(), slice("b", "c"))],
        "positions": [("x", PowerTransformer(), [1, -1])],
        "callable": [("x", StandardScaler(), lambda frame: ["b"])],
    }
    for transformers in blocks.values():
        columns = ColumnTransformer(transformers, remainder="passthrough")
        columns.set_output(transform="pandas").fit(frame)

        def transform(rows, columns=columns):
            return columns.transform(pd.DataFrame(rows, columns=["a", "b", "c"])).to_numpy()

        expected = numerical_log_det(transform, X)
        np.testing.assert_allclose(log_abs_det_jacobian(columns, frame), expected, atol=1e-6)
    pipeline = make_pipeline(columns, StandardScaler(), GaussianMixture(random_state=0))
    pipeline.set_output(transform="pandas").fit(frame)
    assert np.isfinite(score_samples_in_original_units(pipeline, frame)).all()


def test_affine_steps_leave_a_gaussian_as_it_is(X):
    """A Gaussian fitted in other units is the same Gaussian."""
    expected = GaussianMixture(reg_covar=0).fit(X).score_samples(X)
    for step in (StandardScaler(), RobustScaler(), MinMaxScaler(), PCA(whiten=True)):
        pipeline = make_pipeline(step, GaussianMixture(reg_covar=0)).fit(X)
        np.testing.assert_allclose(
            score_samples_in_original_units(pipeline, X), expected, rtol=1e-6
        )


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize(("alpha", "beyond"), [(0, 0), (1e-6, 1e-4)])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_the_density_between_bounds_integrates_to_one(alpha, beyond, n_columns, rng):
    low, high = 2, 5
    X = low + (high - low) * rng.beta(2, 3, size=(500, n_columns))
    flow = RelativeGradientFlow(n_layers=2, max_iter=10, random_state=0)
    pipeline = make_pipeline(LogitTransformer(low, high, alpha=alpha), StandardScaler(), flow)
    pipeline.fit(X)
    n_cells = 20_000 if n_columns == 1 else 300
    midpoints = low + (high - low) * (np.arange(n_cells) + 0.5) / n_cells
    grid = np.stack(np.meshgrid(*[midpoints] * n_columns), axis=-1).reshape(-1, n_columns)
    density = np.exp(score_samples_in_original_units(pipeline, grid))
    volume = ((high - low) / n_cells) ** n_columns
    assert density.sum() * volume == pytest.approx(1, abs=1e-3 + beyond)
    # Without the Jacobian, it does not.
    assert np.exp(pipeline.score_samples(grid)).sum() * volume != pytest.approx(1, abs=0.05)


def test_noise_is_drawn_once(rng):
    X = rng.integers(0, 5, size=(200, 2)).astype(float)

    def pipeline():
        noise = np.random.RandomState(0)
        steps = [DequantizationTransformer(random_state=noise), LogitTransformer(high=5)]
        return make_pipeline(*steps, GaussianMixture(random_state=0)).fit(X)

    one, other = pipeline(), pipeline()
    dequantized = one[0].transform(X)
    logits = one[1].transform(dequantized)
    expected = one[2].score_samples(logits) + one[1].log_abs_det_jacobian(dequantized)
    np.testing.assert_allclose(score_samples_in_original_units(other, X), expected)


@pytest.mark.usefixtures("quick_mixtures")
def test_whole_numbers_between_bounds_come_back_from_samples(rng):
    X = rng.binomial(4, 0.7, size=(300, 3)).astype(float)
    pipeline = make_pipeline(
        DequantizationTransformer(random_state=0),
        LogitTransformer(high=5),
        RelativeGradientFlow(n_layers=2, max_iter=10, random_state=0),
    ).fit(X)
    samples = pipeline[:-1].inverse_transform(pipeline[-1].sample(2000, random_state=0))
    assert set(np.unique(samples)) == set(range(5))
    assert np.isfinite(score_samples_in_original_units(pipeline, samples)).all()
    np.testing.assert_allclose(samples.mean(axis=0), X.mean(axis=0), atol=0.3)


def test_searches_compare_what_transformers_do(X):
    units = {"scale": [StandardScaler(), MinMaxScaler((0, 1e3)), MinMaxScaler((0, 1e-3))]}
    pipeline = Pipeline([("scale", "passthrough"), ("density", GaussianMixture(reg_covar=0))])
    search = GridSearchCV(pipeline, units, scoring=score_in_original_units, cv=3).fit(X)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)
    naive = GridSearchCV(pipeline, units, cv=3).fit(X).cv_results_["mean_test_score"]
    assert np.ptp(naive) > 10

    expected = score_samples_in_original_units(search.best_estimator_, X)
    np.testing.assert_array_equal(score_samples_in_original_units(search, X), expected)


@pytest.mark.usefixtures("quick_mixtures")
def test_searches_over_the_parameters_of_the_transformers(rng):
    X = rng.binomial(4, 0.5, size=(80, 2)).astype(float)
    pipeline = Pipeline(
        [
            ("noise", DequantizationTransformer(random_state=0)),
            ("logit", LogitTransformer(high=5)),
            ("flow", RelativeGradientFlow(n_layers=1, max_iter=3, random_state=0)),
        ]
    )
    grid = {"logit": [LogitTransformer(high=5), "passthrough"], "flow__n_layers": [1, 2]}
    search = GridSearchCV(pipeline, grid, scoring=score_in_original_units, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    grid = {"logit__alpha": [1e-6, 0.05]}
    search = GridSearchCV(pipeline, grid, scoring=score_in_original_units, cv=2).fit(X)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_a_density_estimator_by_itself(X):
    for density in (KernelDensity(), GaussianMixture(random_state=0)):
        expected = density.fit(X).score_samples(X)
        np.testing.assert_array_equal(score_samples_in_original_units(density, X), expected)
        assert isinstance(score_in_original_units(density, X), float)
    scores = cross_val_score(KernelDensity(), X, scoring=score_in_original_units, cv=3)
    assert np.isfinite(scores).all()


def test_a_pipeline_of_a_density_alone(X):
    pipeline = make_pipeline(GaussianMixture(random_state=0)).fit(X)
    expected = pipeline.score_samples(X)
    np.testing.assert_array_equal(score_samples_in_original_units(pipeline, X), expected)


@pytest.mark.usefixtures("quick_mixtures")
def test_pickled_pipelines_score_alike(X):
    pipeline = make_pipeline(
        LogitTransformer(0, 500),
        RelativeGradientFlow(n_layers=1, max_iter=2, random_state=0),
    ).fit(X)
    twin = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(
        score_samples_in_original_units(twin, X), score_samples_in_original_units(pipeline, X)
    )


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (
            VarianceThreshold(),
            TypeError,
            r"The Jacobian of step 'step' \(VarianceThreshold\) of Pipeline is not known\. If it "
            r"is a bijection, give it a method log_abs_det_jacobian\(X\)",
        ),
        (
            FunctionTransformer(np.fix),
            TypeError,
            r"step 'step' \(FunctionTransformer\) of Pipeline is not known. The functions",
        ),
        (
            QuantileTransformer(n_quantiles=10),
            TypeError,
            r"mapped to one number by step 'step' \(QuantileTransformer\) of Pipeline, which",
        ),
        (
            PCA(2),
            ValueError,
            r"Only 2 components of 3 columns are kept by step 'step' \(PCA\) of Pipeline",
        ),
        (
            MinMaxScaler(clip=True),
            ValueError,
            r"set clip=False in step 'step' \(MinMaxScaler\) of Pipeline",
        ),
        (
            make_pipeline(StandardScaler(), PCA(1)),
            ValueError,
            r"by step 'pca' \(PCA\) of step 'step' \(Pipeline\) of Pipeline",
        ),
        (
            ColumnTransformer([("a", StandardScaler(), [0])]),
            ValueError,
            r"The columns \[1, 2\] are dropped by step 'step' \(ColumnTransformer\) of Pipeline",
        ),
        (
            ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", StandardScaler(), [1, 2])]),
            ValueError,
            r"A column is mapped more than once by step 'step'",
        ),
        (
            ColumnTransformer(
                [("a", StandardScaler(), [0])],
                remainder="passthrough",
                transformer_weights={"a": 2},
            ),
            ValueError,
            r"Leave out the transformer_weights of step 'step'",
        ),
        (
            ColumnTransformer([("a", VarianceThreshold(), [0])], remainder="passthrough"),
            TypeError,
            r"of step 'a' \(VarianceThreshold\) of step 'step' \(ColumnTransformer\) of Pipeline",
        ),
    ],
)
def test_steps_that_are_no_bijections(X, step, error, message):
    pipeline = Pipeline([("step", step), ("density", GaussianMixture())]).fit(X)
    with pytest.raises(error, match=message):
        score_samples_in_original_units(pipeline, X)


def test_noise_that_differs_from_call_to_call_among_columns(rng):
    X = rng.integers(0, 5, size=(50, 2))
    block = make_pipeline(DequantizationTransformer(random_state=None), LogitTransformer(high=5))
    columns = ColumnTransformer([("counts", block, [0])], remainder="passthrough").fit(X)
    message = r"The rows that ColumnTransformer gives differ .* Set random_state to an int"
    with pytest.raises(ValueError, match=message):
        log_abs_det_jacobian(columns, X)
    columns.set_params(counts__dequantizationtransformer__random_state=0).fit(X)
    assert np.isfinite(log_abs_det_jacobian(columns, X)).all()


@pytest.mark.parametrize("last", [IsolationForest(random_state=0), MinMaxScaler()])
def test_the_last_step_is_a_density(X, last):
    pipeline = make_pipeline(StandardScaler(), last).fit(X)
    message = r"score_samples of a density estimator, .* got (IsolationForest|MinMaxScaler)\("
    with pytest.raises(TypeError, match=message):
        score_samples_in_original_units(pipeline, X)


def test_what_is_not_fitted(X):
    with pytest.raises(NotFittedError, match="StandardScaler"):
        log_abs_det_jacobian(StandardScaler(), X)
    with pytest.raises(NotFittedError, match="LogitTransformer"):
        log_abs_det_jacobian(LogitTransformer(), X)
    with pytest.raises(NotFittedError, match="ColumnTransformer"):
        log_abs_det_jacobian(ColumnTransformer([("a", StandardScaler(), [0])]), X)


def test_other_columns_than_in_fit(X):
    with pytest.raises(ValueError, match="X has 2 features, but PowerTransformer is expecting 3"):
        log_abs_det_jacobian(PowerTransformer().fit(X), X[:, :2])
