"""The estimator on random shapes, types, weights and configurations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skflow import RelativeGradientFlow

configurations = st.fixed_dictionaries(
    {
        "n_layers": st.integers(1, 2),
        "activation": st.sampled_from(["auto", "spline", "leaky_tanh", "smooth_leaky_relu"]),
        "coupling": st.sampled_from(["auto", None]),
        "base_distribution": st.sampled_from(["normal", "logistic", "student_t", "mixture"]),
        "optimizer": st.sampled_from(["relative", "sgd", "adam"]),
        "early_stopping": st.booleans(),
        "dtype": st.sampled_from(["float32", "float64"]),
        "batch_size": st.sampled_from(["auto", 1, 7]),
        "random_state": st.integers(0, 2**31),
    }
)


# Fits of two epochs to a few rows may end below their start.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The fit ended at .* below its start:RuntimeWarning"
)


@st.composite
def samples(draw):
    """Draw rows, and weights or None."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    X = rng.normal(size=(draw(st.integers(2, 30)), draw(st.integers(1, 5))))
    X = (10.0 ** draw(st.integers(-3, 3)) * X).astype(draw(st.sampled_from(["f4", "f8"])))
    return X, rng.uniform(0.1, 3, len(X)) if draw(st.booleans()) else None


@settings(max_examples=12)
@given(samples(), configurations)
def test_a_fit_is_finite_and_keeps_shapes_and_types(sample, configuration):
    X, weights = sample
    flow = RelativeGradientFlow(max_iter=2, **configuration).fit(X, sample_weight=weights)
    scores, Z, drawn = flow.score_samples(X), flow.transform(X), flow.sample(3, random_state=0)
    assert scores.shape == (len(X),)
    assert Z.shape == X.shape
    assert drawn.shape == (3, X.shape[1])
    assert scores.dtype == Z.dtype == drawn.dtype == X.dtype
    assert all(np.isfinite(values).all() for values in (scores, Z, drawn))
    assert max(1, len(flow.loss_curve_)) == flow.n_iter_ <= 2


@settings(max_examples=8)
@given(samples(), configurations, st.sampled_from([np.nan, np.inf]))
def test_a_failed_fit_leaves_the_estimator_as_it_was(sample, configuration, bad):
    X, weights = sample
    flow = RelativeGradientFlow(max_iter=1, **configuration).fit(X, sample_weight=weights)
    before, scores = dict(vars(flow)), flow.score_samples(X)
    broken = np.c_[X, X]
    broken[0, 0] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        flow.fit(broken, sample_weight=weights)
    assert vars(flow) == before
    assert np.array_equal(flow.score_samples(X), scores)
