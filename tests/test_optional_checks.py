"""What check_estimator leaves out: scikit-learn's checks of names, frames and values."""

import pytest
from sklearn.utils import estimator_checks

from skflow import DensityEnsemble, FlowOutlierDetector, RelativeGradientFlow
from skflow.preprocessing import DequantizationTransformer, LogitTransformer

pytestmark = pytest.mark.usefixtures("quick_mixtures")

ESTIMATORS = [
    RelativeGradientFlow(n_layers=1, max_iter=1, random_state=0),
    DequantizationTransformer(random_state=0),
    LogitTransformer(-1000, 1000),
]


DETECTOR = FlowOutlierDetector(ESTIMATORS[0], cv=3, random_state=0)
ENSEMBLE = DensityEnsemble([("flow", ESTIMATORS[0])], cv=3, random_state=0)


def name_of(estimator):
    return type(estimator).__name__


@pytest.mark.parametrize("estimator", [*ESTIMATORS, DETECTOR, ENSEMBLE], ids=name_of)
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_dataframe_column_names_consistency,
        estimator_checks.check_inplace_ensure_writeable,
        estimator_checks.check_n_features_in_after_fitting,
        estimator_checks.check_param_validation,
    ],
    ids=lambda check: check.__name__,
)
def test_names_and_parameters(estimator, check):
    check(type(estimator).__name__, estimator)


# The checks also transform rows that have names only in fit, or only now.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_get_feature_names_out_error,
        estimator_checks.check_global_output_transform_pandas,
        estimator_checks.check_global_set_output_transform_polars,
        estimator_checks.check_set_output_transform,
        estimator_checks.check_set_output_transform_pandas,
        estimator_checks.check_set_output_transform_polars,
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_transformer_get_feature_names_out_pandas,
    ],
    ids=lambda check: check.__name__,
)
def test_frames(estimator, check):
    check(type(estimator).__name__, estimator)


@pytest.mark.usefixtures("array_api")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("namespace", "device"),
    [
        ("numpy", None),
        ("array_api_strict", None),
        ("torch", "cpu"),
        ("torch", "cuda"),
        ("cupy", None),
    ],
)
def test_the_same_values_from_arrays_of_any_namespace(estimator, namespace, device, dtype):
    name = type(estimator).__name__
    estimator_checks.check_array_api_input_and_values(name, estimator, namespace, device, dtype)
