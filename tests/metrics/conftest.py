from types import SimpleNamespace

import pytest

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons


@pytest.fixture(scope="session")
def moons(while_mixtures_are_quick):
    """Rows of two half moons, others to test with, and a flow that was fitted to the former."""
    X, X_test = half_moons().sample(2000, random_state=0).reshape(2, 1000, 2)
    with while_mixtures_are_quick():
        flow = RelativeGradientFlow(n_layers=4, max_iter=12, random_state=0).fit(X)
    return SimpleNamespace(X=X, X_test=X_test, flow=flow)
