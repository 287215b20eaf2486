"""The worked examples of the contributor's guide keep the contracts that it explains."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skflow import RelativeGradientFlow
from skflow.flow import Flow, LinearStack, Normal
from skflow.preprocessing import sample_in_original_units, score_samples_in_original_units
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def guide():
    """All that the page's code blocks define, by name."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    namespace = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), namespace)
    return namespace


def jacobian_log_det(bijection, x):
    def one(row):
        return bijection(row.unsqueeze(0)).squeeze(0)

    jacobians = torch.stack([torch.autograd.functional.jacobian(one, row) for row in x])
    return torch.linalg.slogdet(jacobians).logabsdet


@pytest.mark.parametrize("name", ["Asinh", "Dense"])
def test_bijections_are_inverted_and_have_the_determinants_of_their_jacobians(
    guide, name, generator
):
    bijection = guide["Asinh"]() if name == "Asinh" else guide["Dense"](3).double()
    for parameter in bijection.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.add_(0.3 * noise)
    x = 3 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    y, log_det = bijection.forward_and_log_det(x)
    back, back_log_det = bijection.inverse_and_log_det(y)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det, jacobian_log_det(bijection, x))
    torch.testing.assert_close(back_log_det, -log_det)
    assert bijection(x.float()).dtype == torch.float32


def test_the_elementwise_bijection_is_finite_far_out(guide):
    x = torch.tensor([[1000.0, -1000.0]])
    assert all(torch.isfinite(part).all() for part in guide["Asinh"]().forward_and_log_det(x))


@pytest.mark.parametrize(
    ("optimizer_class", "n_rows"),
    [
        (RelativeSGD, 2),
        (RelativeSGD, 20),
        (Adam, 2),
        (Adam, 20),
        # Of fewer rows than columns, the stack steps along one batch, and this layer along a mean.
        (NormalizedRelativeSGD, 20),
    ],
)
def test_the_relative_layer_trains_as_a_dense_layer_does(
    guide, optimizer_class, n_rows, generator
):
    layer = guide["Dense"](4).double()
    stack = LinearStack(1, 4, bias=False, dtype=torch.float64)
    flows = [Flow([one], Normal(), n_features=4) for one in (layer, stack)]
    optimizers = [optimizer_class(flow) for flow in flows]
    for _ in range(3):
        x = torch.randn(n_rows, 4, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(*[flow.relative_gradient(x) for flow in flows])
        assert all(optimizer.step(0.05) for optimizer in optimizers)
    stack.settle()
    torch.testing.assert_close(layer.weight, stack.weight, rtol=1e-10, atol=1e-10)


def test_the_relative_layer_trains_inside_an_estimator(guide, rng):
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    flow = RelativeGradientFlow(
        bijections=lambda n_rows, n_features, **_: [guide["Dense"](n_features)],
        max_iter=30,
        random_state=0,
    ).fit(X)
    assert flow.n_layers_ == 1
    assert flow.score(X) > clone(flow).set_params(max_iter=1, learning_rate=1e-9).fit(X).score(X)


def test_the_transformer_stands_before_a_flow(guide, rng):
    X = rng.standard_t(2, size=(300, 2))
    flow = RelativeGradientFlow(2, max_iter=3, random_state=0)
    pipeline = make_pipeline(guide["CubeRootTransformer"](), flow).fit(X)
    scores = score_samples_in_original_units(pipeline, X)
    slopes = np.log(np.abs(1 / 3 * np.abs(X) ** (-2 / 3))).sum(axis=1)
    np.testing.assert_allclose(scores, pipeline.score_samples(X) + slopes)
    samples = sample_in_original_units(pipeline, 5, random_state=0)
    np.testing.assert_allclose(np.cbrt(samples), pipeline[-1].sample(5, random_state=0))


def test_the_base_distribution_is_normalised_and_sampled(guide, generator):
    base = guide["Laplace"]()
    z = torch.linspace(-40, 40, 80_001, dtype=torch.float64).unsqueeze(1)
    assert float(base.log_prob(z).exp().sum()) * 0.001 == pytest.approx(1, abs=1e-6)
    sample = base.sample((100_000, 1), generator=generator)
    assert float(sample.mean()) == pytest.approx(0, abs=0.03)
    assert float(sample.abs().mean()) == pytest.approx(1, abs=0.03)


def test_the_base_distribution_is_that_of_an_estimator(guide, rng):
    X = rng.laplace(size=(400, 2))
    flow = RelativeGradientFlow(
        1,
        activation="leaky_tanh",
        base_distribution=guide["Laplace"](),
        max_iter=20,
        random_state=0,
    )
    assert flow.fit(X).score(X) > clone(flow).set_params(base_distribution="normal").fit(X).score(
        X
    )
