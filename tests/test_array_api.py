"""Arrays of other libraries in, and the same out, with scikit-learn's array_api_dispatch."""

import pickle

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skflow import RelativeGradientFlow
from skflow._sklearn.validation import as_tensor, rows
from skflow.preprocessing import (
    DequantizationTransformer,
    LogitTransformer,
    score_samples_in_original_units,
)

FLOW = RelativeGradientFlow(n_layers=2, max_iter=2, random_state=0)
DEQUANTIZE = DequantizationTransformer(random_state=0)
LOGIT = LogitTransformer([-1, 0, -np.inf], [50, 1, np.inf])

# Their first column holds whole numbers, for the sake of the transformers.
pytestmark = [
    pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning"),
    pytest.mark.usefixtures("quick_mixtures"),
]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture
def X(rng):
    return np.column_stack(
        [rng.poisson(5, 100), rng.uniform(0.1, 0.9, 100), rng.normal(size=100)]
    ).astype(float)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(
    params=[
        ("torch", "cpu"),
        pytest.param(("torch", "cuda"), marks=needs_cuda),
        ("array_api_strict", None),
    ],
    ids=str,
)
def arrays(request, X, dtype):
    """Rows as an array of some library, and what tells whether another is of the same kind."""
    name, device = request.param
    array = pytest.importorskip(name).asarray(X.astype(dtype), device=device)

    def of_the_same_kind(other):
        return type(other) is type(array) and other.device == array.device

    return array, of_the_same_kind


def numpy_of(array):
    return torch.utils.dlpack.from_dlpack(array).cpu().numpy()


@pytest.mark.usefixtures("array_api")
@pytest.mark.parametrize(
    "estimator", [FLOW, DEQUANTIZE, LOGIT], ids=lambda estimator: type(estimator).__name__
)
def test_arrays_come_back_as_they_went_in(estimator, arrays, X, dtype):
    array, of_the_same_kind = arrays
    X = X.astype(dtype)
    expected, estimator = clone(estimator).fit(X), clone(estimator).fit(array)
    Y = estimator.transform(array)
    back = estimator.inverse_transform(Y)
    for result, reference in (
        (Y, expected.transform(X)),
        (back, expected.inverse_transform(expected.transform(X))),
    ):
        assert of_the_same_kind(result)
        assert numpy_of(result).dtype == dtype
        np.testing.assert_allclose(numpy_of(result), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("array_api")
def test_densities_and_samples(arrays, X, dtype):
    array, of_the_same_kind = arrays
    X = X.astype(dtype)
    expected, flow = clone(FLOW).fit(X), clone(FLOW).fit(array)
    scores = flow.score_samples(array)
    assert of_the_same_kind(scores)
    np.testing.assert_allclose(numpy_of(scores), expected.score_samples(X), rtol=1e-4, atol=1e-4)
    assert isinstance(flow.score(array), float)
    assert flow.score(array) == pytest.approx(expected.score(X), abs=1e-4)
    sample = flow.sample(5, random_state=1)
    assert of_the_same_kind(sample)
    assert sample.dtype == array.dtype
    assert sample.shape == (5, 3)
    assert flow.fit(X).sample(2).dtype == dtype  # NumPy's again
    assert isinstance(flow.sample(2), np.ndarray)


@pytest.mark.usefixtures("array_api")
def test_tensors_on_the_cpu_are_not_copied(X, dtype):
    tensor = torch.from_numpy(X.astype(dtype)).requires_grad_()
    assert as_tensor(rows(clone(FLOW), tensor, fitting=True)).data_ptr() == tensor.data_ptr()
    assert not FLOW.fit(tensor).transform(tensor).requires_grad


@pytest.mark.usefixtures("array_api")
@pytest.mark.parametrize("dtype", [torch.int32, torch.bfloat16, torch.float16])
def test_tensors_of_other_types_are_taken_in_double_precision(X, dtype):
    tensor = torch.from_numpy(10 * X[:, ::2]).to(dtype)
    flow = clone(FLOW).fit(tensor)
    Z = flow.transform(tensor)
    assert Z.dtype == flow.sample().dtype == torch.float64
    expected = clone(FLOW).fit(tensor.double().numpy()).score(tensor.double().numpy())
    assert flow.score(tensor) == pytest.approx(expected)


def test_without_dispatch_tensors_are_converted(X, dtype):
    tensor, X = torch.from_numpy(X.astype(dtype)), X.astype(dtype)
    for estimator in (FLOW, DEQUANTIZE, LOGIT):
        expected = clone(estimator).fit_transform(X)
        estimator = clone(estimator).fit(tensor)
        Y = estimator.transform(tensor)
        np.testing.assert_array_equal(Y, expected)
        assert isinstance(Y, np.ndarray)
        assert isinstance(estimator.inverse_transform(tensor), np.ndarray)
    assert isinstance(clone(FLOW).fit(tensor).sample(), np.ndarray)


def test_what_was_fitted_with_dispatch_works_without(array_api, arrays, X, dtype):
    array, _ = arrays
    for estimator in (FLOW, DEQUANTIZE, LOGIT):
        estimator = clone(estimator).fit(array)
        with sklearn.config_context(array_api_dispatch=False):
            Y = estimator.transform(X.astype(dtype))
            assert isinstance(Y, np.ndarray)
            assert isinstance(estimator.inverse_transform(Y), np.ndarray)
    flow = clone(FLOW).fit(array)
    with sklearn.config_context(array_api_dispatch=False):
        sample = flow.sample(2)
    assert isinstance(sample, np.ndarray)
    assert sample.dtype == dtype


@pytest.mark.usefixtures("array_api")
@pytest.mark.parametrize(
    "estimator", [FLOW, DEQUANTIZE, LOGIT], ids=lambda estimator: type(estimator).__name__
)
@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
def test_arrays_of_another_library_than_in_fit_are_refused(estimator, method, X):
    estimator = clone(estimator).fit(torch.from_numpy(X))
    name = type(estimator).__name__
    message = (
        rf"{name}\.{method}\(\) must use the same namespace as those passed to fit\(\), which is "
        "torch, got numpy"
    )
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(X)
    estimator.fit(X)
    with pytest.raises(ValueError, match="which is numpy, got torch"):
        getattr(estimator, method)(torch.from_numpy(X))


@pytest.mark.usefixtures("array_api")
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_what_was_fitted_to_tensors(X, library):
    flow = clone(FLOW).set_output(transform=library).fit(torch.from_numpy(X))
    Z = flow.transform(torch.from_numpy(X))
    for frame in (flow.sample(5), flow.inverse_transform(torch.tensor(Z.to_numpy()))):
        assert type(frame).__module__.startswith(library)
        assert list(frame.columns) == ["x0", "x1", "x2"]


@pytest.mark.usefixtures("array_api")
def test_tensors_in_pipelines_searches_and_pickles(X):
    tensor = torch.from_numpy(X)
    assert np.isfinite(cross_val_score(clone(FLOW), tensor, cv=2)).all()
    pipeline = make_pipeline(*(clone(step) for step in (DEQUANTIZE, LOGIT, FLOW)))
    Z = pipeline.fit(tensor).transform(tensor)
    assert isinstance(Z, torch.Tensor)
    assert torch.equal(pickle.loads(pickle.dumps(pipeline)).transform(tensor), Z)
    back = pipeline.inverse_transform(Z)
    assert isinstance(back, torch.Tensor)
    torch.testing.assert_close(back, tensor, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("array_api")
def test_densities_of_pipelines_in_original_units(X):
    def fitted(X):
        return make_pipeline(
            *(clone(step) for step in (DEQUANTIZE, LOGIT)), MinMaxScaler(), clone(FLOW)
        ).fit(X)

    scores = score_samples_in_original_units(fitted(torch.from_numpy(X)), torch.from_numpy(X))
    assert isinstance(scores, np.ndarray)
    expected = score_samples_in_original_units(fitted(X), X)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.usefixtures("array_api")
def test_errors_name_values_of_tensors(X):
    tensor = torch.from_numpy(X.copy())
    logit, dequantize = clone(LOGIT).fit(tensor), clone(DEQUANTIZE).fit(tensor)
    tensor[3, 0] = 60.5
    message = r"X has the value 60\.5 in column 0, outside of its bounds -1\.0 to 50\.0"
    with pytest.raises(ValueError, match=message):
        logit.transform(tensor)
    with pytest.raises(ValueError, match=r"X has the value 60\.5 in column 0, which is to get"):
        dequantize.transform(tensor)


@needs_cuda
@pytest.mark.usefixtures("array_api")
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_tensors_on_a_gpu_are_scored_and_sampled_there(X, device):
    tensor = torch.from_numpy(X).to("cuda:0")
    tensor = torch.cat([tensor, torch.ones_like(tensor[:, :1])], dim=1)
    with pytest.warns(UserWarning, match="constant"):
        flow = clone(FLOW).set_params(device=device).fit(tensor)
    for result in (
        flow.score_samples(tensor),
        flow.inverse_transform(flow.transform(tensor)),
        flow.sample(3),
    ):
        assert result.device == tensor.device
    # Opens without a GPU, and works with tensors that are on one.
    opened = pickle.loads(pickle.dumps(flow))
    assert {p.device.type for p in opened.flow_.parameters()} == {"cpu"}
    torch.testing.assert_close(opened.transform(tensor), flow.transform(tensor))
    assert opened.sample(3).device.type == "cpu"
