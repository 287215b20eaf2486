import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_iris

from skflow import RelativeGradientFlow
from skflow.preprocessing import DequantizationTransformer


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def iris():
    """Four columns, in centimetres, as a frame. They were noted to a millimetre."""
    dequantize = DequantizationTransformer(step=0.1, random_state=0)
    return dequantize.set_output(transform="pandas").fit_transform(load_iris(as_frame=True).data)


@pytest.fixture(scope="session")
def flow(iris):
    return RelativeGradientFlow(n_layers=2, max_iter=5, random_state=0).fit(iris)


@pytest.fixture(scope="session")
def plane():
    """Two columns in single precision, without names."""
    return np.random.default_rng(0).standard_normal((200, 2), dtype=np.float32)


@pytest.fixture(scope="session")
def plane_flow(plane):
    return RelativeGradientFlow(n_layers=1, max_iter=3, random_state=0).fit(plane)
