import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skflow import NormalMixture, RelativeGradientFlow
from skflow.flow import HyperbolicSecant, Logistic, Normal, StudentT
from skflow.inspection import LatentDisplay
from skflow.inspection.marginals import SampledMarginal, kolmogorov_smirnov, marginals


def _mixture(generator):
    base = NormalMixture(n_components=3)
    base.allocate(2)
    z = torch.randn(500, 2, generator=generator)
    z[:200] += torch.tensor([4.0, -3.0])
    z[200:300, 0] *= 0.2
    base.initialize(z, generator)
    with torch.no_grad():
        base.shift.add_(0.3)
        base.triangle.add_(0.1)
    return base


def _student_t(generator):
    base = StudentT()
    base.allocate(2)
    with torch.no_grad():
        base.log_inverse.copy_(torch.tensor([0.0, -3.0]))
    return base


KNOWN = {
    "normal": lambda _: Normal(),
    "hyperbolic_secant": lambda _: HyperbolicSecant(),
    "logistic": lambda _: Logistic(),
    "student_t": _student_t,
    "mixture": _mixture,
}


@pytest.fixture(params=KNOWN)
def base(request, generator):
    return KNOWN[request.param](generator)


def test_marginals_are_those_of_the_joint_density(base):
    # Over a grid, the joint density of two latents adds up to that of either.
    each = marginals(base, 2, random_state=0)
    axes = [np.linspace(*marginal.interval(0.99999), 801) for marginal in each]
    steps = [axis[1] - axis[0] for axis in axes]
    grid = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1)).reshape(-1, 2)
    with torch.no_grad():
        joint = base.log_prob(grid).exp().numpy().reshape(801, 801)
    for i in range(2):
        np.testing.assert_allclose(
            joint.sum(1 - i) * steps[1 - i], each[i].pdf(axes[i]), atol=1e-4, rtol=1e-3
        )


def test_distribution_functions_are_those_of_samples(base, generator):
    z = base.sample((2000, 2), generator=generator).numpy()
    for i, marginal in enumerate(marginals(base, 2, random_state=0)):
        assert kolmogorov_smirnov(z[:, i], marginal)[1] > 1e-3
        assert kolmogorov_smirnov(z[:, i] + 0.5, marginal)[1] < 1e-9
        low, high = marginal.interval(0.9)
        assert np.mean((low < z[:, i]) & (z[:, i] < high)) > 0.87


def test_statistics_are_scipys(flow, iris):
    display = LatentDisplay.from_estimator(flow, iris)
    Z = flow.transform(iris)
    np.testing.assert_array_equal(display.latents, Z)
    for i in range(4):
        expected = stats.kstest(Z[:, i], "norm")
        assert display.statistic[i] == expected.statistic
        assert display.pvalue[i] == expected.pvalue
        title = display.axes_[i].get_title()
        assert title.startswith(f"latent {i}\nKS {expected.statistic:.3f}, p = ")
    np.testing.assert_allclose(display.base_density, stats.norm.pdf(display.grid))


@pytest.mark.parametrize("base", ["hyperbolic_secant", "logistic", "student_t", "mixture"])
def test_any_base_distribution_by_name(flow, iris, base):
    flow = clone(flow).set_params(base_distribution=base).fit(iris)
    display = LatentDisplay.from_estimator(flow, iris)
    assert len(display.axes_) == 4
    areas = integrate.trapezoid(display.base_density, display.grid)
    np.testing.assert_allclose(areas, 1, atol=0.01)


@pytest.mark.parametrize(
    "base",
    [
        torch.distributions.Laplace(0.0, 1.0),
        torch.distributions.MultivariateNormal(torch.zeros(4), 4 * torch.eye(4)),
    ],
    ids=["numbers", "vectors"],
)
def test_base_distribution_of_torch(flow, iris, base):
    flow = clone(flow).set_params(base_distribution=base).fit(iris)
    display = LatentDisplay.from_estimator(flow, iris, random_state=0)
    exact = stats.laplace() if base.event_shape == () else stats.norm(scale=2)
    for i in range(4):
        expected = stats.kstest(display.latents[:, i], exact.cdf)
        assert display.statistic[i] == pytest.approx(expected.statistic, abs=0.02)
    np.testing.assert_allclose(display.base_density, exact.pdf(display.grid), atol=0.05)
    again = LatentDisplay.from_estimator(flow, iris, random_state=0)
    np.testing.assert_array_equal(again.statistic, display.statistic)


def test_kernel_estimate_with_heavy_tails(rng):
    x = np.linspace(-5, 5, 50)
    marginal = SampledMarginal(rng.standard_cauchy(20_000))
    np.testing.assert_allclose(marginal.pdf(x), stats.cauchy.pdf(x), atol=0.02)


def test_worst_latents_of_many(rng):
    X = rng.standard_normal((80, 20)) ** 3
    flow = RelativeGradientFlow(n_layers=1, max_iter=1, random_state=0).fit(X)
    display = LatentDisplay.from_estimator(flow, X, max_latents=5)
    assert len(display.axes_) == 5
    assert len(display.statistic) == len(display.pvalue) == 20
    np.testing.assert_array_equal(display.indices, np.argsort(-display.statistic)[:5])
    np.testing.assert_array_equal(display.latents, flow.transform(X)[:, display.indices])
    assert display.axes_[0].get_title().startswith(f"latent {display.indices[0]}\n")
    (legend,) = display.figure_.legends
    assert legend.get_title().get_text() == "the worst 5 of 20 latents"


def test_rows_unlike_the_data_are_found_out(flow, iris):
    display = LatentDisplay.from_estimator(flow, iris + 5)
    assert (display.pvalue < 0.001).any()
    worst = display.statistic.argmax()
    assert display.axes_[worst].get_title().endswith("p < 0.001")


def test_one_column_and_frames_of_latents(rng):
    X = rng.standard_normal((60, 1)).astype(np.float32)
    flow = RelativeGradientFlow(n_layers=1, max_iter=2, random_state=0).fit(X)
    flow.set_output(transform="pandas")
    display = LatentDisplay.from_estimator(flow, X)
    assert display.axes_.shape == (1,)
    assert display.latents.shape == (60, 1)


def test_artists_and_axes_that_are_passed(flow, iris):
    figure, axes = plt.subplots(2, 2)
    display = LatentDisplay.from_estimator(
        flow, iris, ax=axes, hist_kw={"bins": 3}, line_kw={"color": "black"}
    )
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes.ravel())
    assert len(axes[0, 0].patches) == 3
    assert axes[0, 0].lines[0].get_color() == "black"
    _, ax = plt.subplots()
    assert display.plot(ax).bounding_ax_ is ax


def test_estimator_must_be_a_fitted_flow(flow, iris):
    with pytest.raises(NotFittedError):
        LatentDisplay.from_estimator(RelativeGradientFlow(), iris)
    with pytest.raises(TypeError, match="of a Pipeline the last step"):
        LatentDisplay.from_estimator(make_pipeline(flow), iris)
    with pytest.raises(ValueError, match="max_latents == 0"):
        LatentDisplay.from_estimator(flow, iris, max_latents=0)
    with pytest.raises(ValueError, match="feature names should match"):
        LatentDisplay.from_estimator(flow, iris.iloc[:, :3])
