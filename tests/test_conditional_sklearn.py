"""A conditional density as a regressor of scikit-learn: its checks, and its tools."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import ConditionalFlow


def expected_failed_checks(estimator):
    copies = "a copy of a row may be held out, or fall into another batch or another tree's rows"
    no_targets = "score_samples takes targets as well: see test_conditional.py"
    return {
        "check_sample_weight_equivalence_on_dense_data": copies,
        "check_array_api_input": no_targets,
        "check_methods_sample_order_invariance": no_targets,
        "check_methods_subset_invariance": no_targets,
    }


# Some checks fit whole numbers.
@pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")
@pytest.mark.filterwarnings("ignore:The fit ended at .* below its start:RuntimeWarning")
@pytest.mark.usefixtures("quick_mixtures")
@parametrize_with_checks(
    [
        ConditionalFlow(max_iter=2, n_trees=20),
        ConditionalFlow(max_iter=2, n_trees=0, early_stopping=False),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)
