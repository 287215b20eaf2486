"""What goes to a worker with each task, and what comes back."""

import pickle

import pytest

from skflow import ConditionalFlow, DensityEnsemble, FlowOutlierDetector, RelativeGradientFlow
from skflow.tables import TableFlow


@pytest.mark.parametrize(
    "kind",
    [ConditionalFlow, DensityEnsemble, FlowOutlierDetector, RelativeGradientFlow, TableFlow],
)
def test_an_estimator_that_is_not_fitted_is_small(kind):
    assert len(pickle.dumps(kind())) < 2000


def test_a_fitted_flow_is_as_large_as_its_parameters(X):
    flow = RelativeGradientFlow(base_distribution="logistic", max_iter=1, random_state=0).fit(X)
    n_bytes = 4 * sum(parameter.numel() for parameter in flow.flow_.parameters())
    assert n_bytes < len(pickle.dumps(flow)) < 1.2 * n_bytes + 20_000
