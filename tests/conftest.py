import os

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import settings
from sklearn.utils import check_array

from skflow.flow import LinearStack

# The same examples in each run; a fit has no deadline.
settings.register_profile(
    "skflow", derandomize=True, deadline=None, max_examples=15, database=None
)
settings.load_profile("skflow")


@pytest.fixture
def global_random_seed():
    """The seed of a test that must hold for any; SKFLOW_TESTS_SEED chooses another."""
    return int(os.environ.get("SKFLOW_TESTS_SEED", "0"))


@pytest.fixture
def generator(global_random_seed):
    return torch.Generator().manual_seed(global_random_seed)


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


@pytest.fixture
def array_api():
    """scikit-learn's ``array_api_dispatch``, turned on for a test where it works."""
    try:
        with sklearn.config_context(array_api_dispatch=True):
            check_array(np.ones((1, 1)))
    except (ImportError, RuntimeError) as error:  # what it needs is not there
        pytest.skip(str(error))
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def make_stack(generator):
    """Make a dense stack with weights that are far from special and well conditioned."""

    def make(n_layers, n_features, **kwargs):
        stack = LinearStack(n_layers, n_features, **{"dtype": torch.float64} | kwargs)
        for parameter in stack.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.add_(0.3 * noise)
        return stack

    return make


@pytest.fixture(autouse=True)
def no_cuda_without_a_gpu(monkeypatch):
    """scikit-learn's checks ask whether PyTorch was built for CUDA, not whether there is a GPU."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
