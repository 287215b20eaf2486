import pickle
import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from skflow import (
    LeakyTanh,
    NormalMixture,
    RelativeGradientFlow,
    SmoothLeakyReLU,
    default_bijections,
)
from skflow.datasets import gaussian_ring, half_moons, sine
from skflow.exceptions import DivergenceError
from skflow.flow import LinearStack
from skflow.metrics import energy_distance

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(600, random_state=0)


@pytest.fixture(scope="module")
def fitted(X, while_mixtures_are_quick):
    with while_mixtures_are_quick():
        return RelativeGradientFlow(n_layers=3, max_iter=6, random_state=0).fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("density", [half_moons(), sine()], ids=["half_moons", "sine"])
def test_density_integrates_to_one_and_samples_match(density, rng):
    X = density.sample(2000, random_state=0)
    held_out = density.sample(2000, random_state=1)
    flow = RelativeGradientFlow(n_layers=4, max_iter=30, random_state=0).fit(X)
    axes = [np.linspace(-15, 15, 900)] * 2
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(flow.score_samples(grid)).sum() * cell == pytest.approx(1, abs=1e-3)

    gaussian = GaussianMixture(random_state=0).fit(X)
    assert flow.score(held_out) > gaussian.score(held_out)
    ours = energy_distance(flow.sample(2000, random_state=0), held_out)
    theirs = energy_distance(gaussian.sample(2000)[0], held_out)
    assert ours < theirs


def test_exact_on_a_gaussian(rng):
    mixing = rng.normal(size=(4, 4)) + 3 * np.eye(4)
    X = rng.normal(size=(5000, 4)) @ mixing + 10
    flow = RelativeGradientFlow(
        n_layers=1, activation="leaky_tanh", early_stopping=False, random_state=0
    ).fit(X)
    gaussian = GaussianMixture(reg_covar=0).fit(X)
    assert flow.score(X) == pytest.approx(gaussian.score(X), abs=2e-3)


def test_scores_are_in_the_units_of_the_data(X):
    scales = np.array([1e3, 1e-2])
    flow = RelativeGradientFlow(n_layers=2, max_iter=3, random_state=0)
    plain = flow.fit(X).score_samples(X)
    scaled = clone(flow).fit(X * scales).score_samples(X * scales)
    np.testing.assert_allclose(scaled, plain - np.log(scales).sum(), atol=1e-4)


@pytest.mark.parametrize("activation", ["smooth_leaky_relu", "leaky_tanh"])
@pytest.mark.parametrize("init", ["orthogonal", "whiten"])
def test_fifty_layers_invert_to_1e_8(activation, init):
    X = load_breast_cancer().data
    X = (X - X.mean(0)) / X.std(0)
    flow = RelativeGradientFlow(
        n_layers=50,
        activation=activation,
        bijections=partial(default_bijections, init=init),
        max_iter=5,
        random_state=0,
    ).fit(X)
    assert flow.n_layers_ == 50
    assert np.abs(flow.inverse_transform(flow.transform(X)) - X).max() <= 1e-8


def test_latents_and_scores_agree(fitted, X):
    Z = torch.from_numpy(fitted.transform(X))
    jacobian = torch.autograd.functional.jacobian(fitted.flow_, torch.from_numpy(X[:1]))[0, :, 0]
    expected = fitted.flow_.base.log_prob(Z[:1]) + torch.linalg.slogdet(jacobian).logabsdet
    assert fitted.score_samples(X[:1]) == pytest.approx(float(expected), abs=1e-10)


def test_inference_is_batch_and_permutation_invariant(fitted, rng):
    X = np.tile(half_moons().sample(500, random_state=3), (20, 1))  # more than one block
    order = rng.permutation(len(X))
    for method in (fitted.score_samples, fitted.transform, fitted.inverse_transform):
        whole = method(X)
        np.testing.assert_allclose(method(X[order]), whole[order], atol=1e-9, rtol=1e-9)
        one_by_one = np.concatenate([method(X[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(one_by_one, whole[:5], atol=1e-9, rtol=1e-9)


def test_inference_keeps_the_precision_of_its_input(fitted, X):
    for dtype in (np.float32, np.float64):
        for method in (fitted.score_samples, fitted.transform, fitted.inverse_transform):
            assert method(X.astype(dtype)).dtype == dtype
    assert isinstance(fitted.score(X), float)
    assert fitted.sample(3).dtype == np.float64
    X32 = X.astype(np.float32)
    assert RelativeGradientFlow(max_iter=1).fit(X32).sample(3).dtype == np.float32


def test_double_precision_training(X):
    flow = RelativeGradientFlow(dtype="float64", max_iter=2, random_state=0).fit(X)
    assert {p.dtype for p in flow.flow_.parameters()} == {torch.float64}


@pytest.mark.parametrize("optimizer", ["relative", "sgd", "adam"])
def test_same_seed_same_result_bit_for_bit(X, optimizer):
    global_numpy = np.random.get_state()[1].copy()  # noqa: NPY002
    global_torch = torch.get_rng_state()
    n_threads = torch.get_num_threads()
    fits = [
        RelativeGradientFlow(2, optimizer=optimizer, max_iter=3, random_state=7).fit(X)
        for _ in range(2)
    ]
    assert np.array_equal(*[fit.score_samples(X) for fit in fits])
    assert np.array_equal(*[fit.sample(10, random_state=1) for fit in fits])
    assert fits[0].loss_curve_ == fits[1].loss_curve_
    assert np.array_equal(np.random.get_state()[1], global_numpy)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), global_torch)
    assert torch.get_num_threads() == n_threads
    other = RelativeGradientFlow(2, optimizer=optimizer, max_iter=3, random_state=8).fit(X)
    assert not np.array_equal(other.score_samples(X), fits[0].score_samples(X))


def test_history(X):
    X = np.tile(X, (4, 2)) * [1, 1, 2, 3] + np.eye(4)[np.arange(4 * len(X)) % 4]
    flow = RelativeGradientFlow(max_iter=3, random_state=0).fit(X)
    assert flow.n_iter_ == len(flow.loss_curve_) == len(flow.validation_scores_) == 3
    assert flow.best_validation_score_ >= max(flow.validation_scores_)
    assert flow.candidates_ == []
    assert (flow.n_layers_, flow.batch_size_, flow.max_iter_) == (6, 96, 3)
    assert flow.learning_rate_ == pytest.approx(0.2 / np.sqrt(6))
    assert flow.n_samples_seen_ == len(X)
    log_dets = [
        float(torch.linalg.slogdet(b.weight.detach().double())[1].sum())
        for b in flow.flow_.bijections
        if isinstance(b, LinearStack)
    ]
    assert len(log_dets) == 6
    assert flow.log_det_ == pytest.approx(sum(log_dets), abs=1e-6)

    flow.set_params(early_stopping=False).fit(X)
    assert flow.validation_scores_ == []
    assert flow.best_validation_score_ is None


def test_warm_start_goes_on(X):
    flow = RelativeGradientFlow(
        n_layers=3, activation="leaky_tanh", max_iter=3, warm_start=True, random_state=0
    ).fit(X)
    first, curve = flow.flow_, flow.loss_curve_
    before = flow.best_validation_score_
    flow.fit(X)
    assert flow.flow_ is not first
    assert flow.loss_curve_[: len(curve)] == curve
    assert flow.n_iter_ == len(flow.loss_curve_)
    assert flow.best_validation_score_ > before - 0.1

    flow.set_params(n_layers=4)
    with pytest.raises(ValueError, match=r"n_layers=4[\s\S]*instead of[\s\S]*n_layers=3"):
        flow.fit(X)


@pytest.mark.parametrize("sizes", [(1400, 1500), (1500, 1400), (200, 300), (300, 10_001)])
def test_a_warm_start_keeps_what_auto_was(rng, sizes):
    before, after = (rng.normal(size=(n, 2)) for n in sizes)
    flow = RelativeGradientFlow(max_iter=1, warm_start=True, random_state=0).fit(before)
    described = repr(flow.flow_)
    assert repr(flow.fit(after).flow_) == described
    assert repr(clone(flow).fit(after).flow_) != described
    with pytest.raises(ValueError, match="instead of"):
        flow.fit(rng.normal(size=(100, 3)))


def test_a_failed_fit_leaves_the_estimator_as_it_was(X):
    flow = RelativeGradientFlow(max_iter=2, random_state=0).fit(X)
    before, attributes = flow.score_samples(X), set(vars(flow))
    X_bad = np.c_[X, X]
    X_bad[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        flow.fit(X_bad)
    flow.set_params(device="tpu")
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda'"):
        flow.fit(X)
    flow.set_params(device="cpu")
    assert set(vars(flow)) == attributes
    assert flow.n_features_in_ == 2
    assert np.array_equal(flow.score_samples(X), before)


def test_divergence_leaves_an_earlier_fit(X, monkeypatch):
    flow = RelativeGradientFlow(2, early_stopping=False, max_iter=3, random_state=0).fit(X)
    before = flow.score_samples(X)
    monkeypatch.setattr("skflow.training.optimizers.Optimizer.step", lambda *_, **__: False)
    with pytest.raises(DivergenceError, match="Training diverged"):
        flow.fit(X)
    assert np.array_equal(flow.score_samples(X), before)


@pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")  # of the row far out
def test_few_rows_are_all_fitted(rng):
    X = rng.normal(size=(60, 3))
    X[0] = 300.0  # held out or not, it is in the covariance that a fit starts from
    # By some of the seeds it is held out.
    flows = [RelativeGradientFlow(1, max_iter=2, random_state=seed).fit(X) for seed in range(30)]
    assert all(flow.score_samples(X[:1]) > -200 for flow in flows)

    # What the attributes say is of the fit that is returned, and of those that chose it.
    for flow in flows:
        assert max(1, len(flow.loss_curve_)) == flow.n_iter_ <= 2
        assert flow.validation_scores_ == []
        assert [len(candidate["validation_scores"]) for candidate in flow.candidates_] == [2, 2]
        best = max(flow.candidates_, key=lambda candidate: candidate["best_validation_score"])
        assert flow.best_validation_score_ == best["best_validation_score"]
        assert flow.input_noise_ == best["input_noise"]


@pytest.mark.slow
def test_few_rows_are_fitted_for_as_long_as_was_best():
    X, X_new = half_moons().sample(1000, random_state=0).reshape(2, 500, 2)
    flow = RelativeGradientFlow(random_state=0).fit(X)
    assert flow.score(X_new) > GaussianMixture(reg_covar=1e-6).fit(X).score(X_new) + 0.3


def test_few_rows_keep_the_start_that_was_better(rng):
    # With so many columns no fit starts from a mixture, and negative values have no logarithm.
    normal, skewed = rng.normal(size=(60, 41)), rng.exponential(size=(300, 41)) ** 2 - 0.1
    for X, init in ((normal, "identity"), (skewed, "quantiles")):
        flow = RelativeGradientFlow(1, max_iter=1, random_state=0).fit(X)
        assert flow.flow_.bijections[1].start_from == init


@pytest.mark.slow
def test_held_out_rows_choose_the_noise_of_few(rng):
    clusters = rng.integers(5, size=(500, 1)) + 0.001 * rng.normal(size=(500, 2))
    smooth = load_breast_cancer().data[:150]
    # From this base no fit starts from a mixture, so that the noise is the only choice.
    flow = RelativeGradientFlow(base_distribution="student_t", random_state=0)
    narrow, wide = (flow.fit(X).input_noise_ for X in (clusters, smooth))
    assert narrow == pytest.approx(0.05 * 200 / 450)  # of two columns, and 450 rows
    assert wide == pytest.approx(0.2)
    for X, parameters in ((smooth, {"early_stopping": False}), (rng.normal(size=(20, 1001)), {})):
        flow = RelativeGradientFlow(max_iter=1, **parameters).fit(X)
        assert flow.input_noise_ == 0.05
    assert RelativeGradientFlow(max_iter=1, input_noise=0.1).fit(smooth).input_noise_ == 0.1


def test_max_time_is_kept_with_few_rows():
    # Without a limit it would take hours.
    X = np.random.default_rng(0).normal(size=(500, 5))
    flow = RelativeGradientFlow(max_iter=10**6, max_time=1.0, n_iter_no_change=10**6).fit(X)
    assert sum(len(candidate["loss_curve"]) for candidate in flow.candidates_) < 10**6


def test_max_time_is_kept():
    X = np.random.default_rng(0).normal(size=(2000, 20))
    flow = RelativeGradientFlow(max_iter=10**6, max_time=1.0, n_iter_no_change=10**6).fit(X)
    assert flow.n_iter_ < 10**6


def test_models_survive_a_restart(fitted, X, tmp_path):
    joblib.dump(fitted, tmp_path / "flow.joblib")
    np.save(tmp_path / "X.npy", X)
    program = (
        "import joblib, numpy as np\n"
        f"flow = joblib.load(r'{tmp_path / 'flow.joblib'}')\n"
        f"X = np.load(r'{tmp_path / 'X.npy'}')\n"
        f"np.savez(r'{tmp_path / 'out.npz'}', scores=flow.score_samples(X),\n"
        "    sample=flow.sample(5, random_state=0))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["scores"], fitted.score_samples(X), rtol=1e-12)
    np.testing.assert_allclose(out["sample"], fitted.sample(5, random_state=0), rtol=1e-12)


def test_verbose_writes_a_line_an_epoch(X, capsys):
    # From this base, epochs gain so much that all rows are fitted in the end.
    flow = RelativeGradientFlow(base_distribution="logistic", max_iter=3, random_state=0)
    flow.set_params(verbose=True).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:10] for line in lines[:6]] == 3 * ["fit 1 of 3"] + 3 * ["fit 2 of 3"]
    assert all("held out" in line for line in lines[:6])
    assert all(line.startswith("fit 3 of 3") for line in lines[6:])
    RelativeGradientFlow(max_iter=1, verbose=1, early_stopping=False).fit(X)
    assert capsys.readouterr().out.startswith("epoch")


class TestAwkwardData:
    """All of it either fits sensibly or says precisely why not."""

    @pytest.mark.parametrize("optimizer", ["relative", "sgd", "adam"])
    @pytest.mark.parametrize("scale", [1e12, 1e-12])
    def test_huge_and_tiny_scales(self, X, scale, optimizer):
        flow = RelativeGradientFlow(2, max_iter=3, optimizer=optimizer, random_state=0)
        plain = clone(flow).fit(X).score(X)
        assert flow.fit(X * scale).score(X * scale) == pytest.approx(
            plain - 2 * np.log(scale), abs=1e-3
        )
        assert np.isfinite(flow.sample(10, random_state=0)).all()

    def test_one_feature(self, rng):
        X = rng.gamma(2.0, size=(500, 1))
        flow = RelativeGradientFlow(2, max_iter=20, random_state=0).fit(X)
        x = np.linspace(-100, 100, 100_001)
        integral = np.exp(flow.score_samples(x[:, None])).sum() * (x[1] - x[0])
        assert integral == pytest.approx(1, abs=1e-3)

    def test_two_rows(self):
        X = np.array([[0.0, 1.0, 2.0], [1.0, 3.0, -1.0]])
        flow = RelativeGradientFlow(random_state=0).fit(X)
        assert np.isfinite(flow.score_samples(X)).all()
        assert np.median(np.abs(flow.sample(100, random_state=0))) < 10

    def test_constant_columns_are_named(self, X):
        X = np.c_[X, np.full(len(X), 3.0)]
        flow = RelativeGradientFlow(max_iter=5, random_state=0)
        with pytest.warns(UserWarning, match="Constant, .*: column 2. Drop"):
            flow.fit(X)
        column = flow.sample(2000, random_state=0)[:, 2]
        assert np.median(column) == pytest.approx(3, abs=0.3)
        assert np.diff(np.quantile(column, [0.25, 0.75])) == pytest.approx(1.35, abs=0.4)

    def test_duplicated_rows_and_columns(self, X):
        flow = RelativeGradientFlow(2, max_iter=4, random_state=0)
        assert np.isfinite(flow.fit(np.repeat(X[:20], 20, axis=0)).score(X))
        duplicated = np.c_[X, X]
        with pytest.warns(UserWarning, match="Copies .*: column 2, column 3. Drop them"):
            flow.fit(duplicated)
        assert np.isfinite(flow.score(duplicated))

    def test_more_columns_than_rows(self, rng):
        X = rng.normal(size=(20, 100))
        flow = RelativeGradientFlow(max_iter=10, random_state=0).fit(X)
        assert np.isfinite(flow.score(rng.normal(size=(20, 100))))

    def test_a_scale_that_float64_cannot_hold(self):
        X = np.array([[-1e308, 0.0], [1e308, 1.0]])
        with pytest.raises(ValueError, match=r"columns \[0\] of X .* Change their units"):
            RelativeGradientFlow().fit(X)

    def test_read_only_and_reversed_arrays(self, X, fitted):
        frozen = X.copy()
        frozen.flags.writeable = False
        assert np.array_equal(fitted.score_samples(frozen), fitted.score_samples(X))
        # A row in another place takes another lane of the processor, which may round otherwise.
        reversed_scores = fitted.score_samples(X[::-1])
        np.testing.assert_allclose(reversed_scores[::-1], fitted.score_samples(X), rtol=1e-9)


class TestErrors:
    @pytest.mark.parametrize(
        ("parameter", "value", "match"),
        [
            ("n_layers", 0, r"'n_layers' parameter .* int in the range \[1, 1000\]. Got 0"),
            ("n_layers", 2**63, r"'n_layers' parameter .* \[1, 1000\]. Got 9"),
            ("learning_rate", 1e39, r"'learning_rate' .* Got 1e\+39"),
            (
                "activation",
                "relu",
                r"'activation' .*'smooth_leaky_relu'.*'skflow.*Activation'. Got 'relu'",
            ),
            ("learning_rate", -1, r"'learning_rate' .* Got -1"),
            ("max_time", 0, r"'max_time' .* Got 0"),
            ("validation_fraction", 1.0, r"'validation_fraction' .* Got 1.0"),
            ("dtype", "float16", r"'dtype' .* Got 'float16'"),
            (
                "base_distribution",
                "cauchy",
                r"'base_distribution' .*'mixture'.* an object implementing 'log_prob' and "
                r"'sample'. Got 'cauchy'",
            ),
        ],
    )
    def test_parameters(self, X, parameter, value, match):
        with pytest.raises(ValueError, match=match):
            RelativeGradientFlow(**{parameter: value}).fit(X)

    @pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99"])
    def test_device(self, X, device):
        match = "is not there" if device == "cuda:99" else "device must be 'auto', 'cpu'"
        with pytest.raises(ValueError, match=match):
            RelativeGradientFlow(device=device).fit(X)

    def test_not_fitted(self, X):
        for method in ("score_samples", "transform", "inverse_transform", "sample"):
            with pytest.raises(NotFittedError):
                getattr(RelativeGradientFlow(), method)(X)

    def test_latents_of_another_width(self, fitted, X):
        with pytest.raises(ValueError, match="X has 3 columns, but the flow was fitted to 2"):
            fitted.inverse_transform(np.c_[X, X[:, :1]])

    def test_number_of_samples(self, fitted):
        with pytest.raises(ValueError, match="n_samples must be 1 or more, got 0"):
            fitted.sample(0)


def test_an_activation_instance_is_used_and_not_shared(X):
    activation = SmoothLeakyReLU(alpha=0.01)
    flow = RelativeGradientFlow(activation=activation, max_iter=1).fit(X)
    stack = flow.flow_.bijections[1]
    assert isinstance(stack, LinearStack)
    assert stack.activation.alpha == 0.01
    assert stack.activation is not activation
    assert repr(RelativeGradientFlow(activation=LeakyTanh(beta=0.2))) == (
        "RelativeGradientFlow(activation=LeakyTanh(alpha=1.0, beta=0.2))"
    )


@pytest.mark.parametrize(
    "base_distribution",
    [
        "normal",
        "hyperbolic_secant",
        "logistic",
        "student_t",
        "mixture",
        NormalMixture(n_components=3),
        torch.distributions.Laplace(0.0, 1.0),
        torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_base_fits(X, base_distribution, dtype):
    global_torch = torch.get_rng_state()
    flow = RelativeGradientFlow(
        2, base_distribution=base_distribution, dtype=dtype, max_iter=3, random_state=0
    )
    X = X[:300]
    assert clone(flow).fit(X).score(X) > -3
    assert {p.dtype for p in flow.fit(X).flow_.parameters()} == {getattr(torch, dtype)}
    assert flow.score(X) == clone(flow).fit(X).score(X)
    assert np.array_equal(*[flow.sample(10, random_state=0) for _ in range(2)])
    assert np.isfinite(flow.score_samples(X.astype(np.float32))).all()
    assert torch.equal(torch.get_rng_state(), global_torch)
    scores = flow.score_samples(X)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(flow)).score_samples(X), scores)
    assert np.isfinite(flow.set_params(warm_start=True).fit(X).score(X))


@pytest.mark.parametrize("bias", [True, False])
def test_every_bias_fits(X, bias):
    bijections = partial(default_bijections, bias=bias)
    flow = RelativeGradientFlow(2, bijections=bijections, max_iter=3, random_state=0).fit(X)
    assert flow.score(X) > -3
    assert clone(flow).fit(X).score(X) == flow.score(X)


def test_a_base_instance_is_used_and_not_changed(X):
    mixture = NormalMixture(n_components=3)
    flow = RelativeGradientFlow(base_distribution=mixture)
    assert repr(flow) == "RelativeGradientFlow(base_distribution=NormalMixture(n_components=3))"
    flow.set_params(max_iter=1).fit(X)
    assert flow.flow_.base.weights.shape == (3,)
    assert not list(mixture.parameters())


def test_a_base_of_another_width_is_refused(X):
    normal = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
    with pytest.raises(ValueError, match=r"base_distribution=Multi.* pass a distribution of vect"):
        RelativeGradientFlow(base_distribution=normal).fit(X)


@pytest.mark.slow
def test_separated_modes_are_fitted_without_bridges():
    ring = gaussian_ring(noise=0.3)
    flow = RelativeGradientFlow(base_distribution="mixture", random_state=0)
    flow.fit(ring.sample(4000, random_state=0))
    X_test = ring.sample(10_000, random_state=1)
    assert flow.score(X_test) == pytest.approx(ring.score(X_test), abs=0.05)
    # Beyond six standard deviations from all centres there is nothing.
    sample = flow.sample(10_000, random_state=0)
    nearest = np.linalg.norm(sample[:, None] - ring.centres, axis=2).min(1)
    assert (nearest > 6 * ring.noise).mean() < 1e-3


def test_heavy_tails_are_learned(rng):
    X, X_test = (rng.standard_t(3, size=(2000, 3)) for _ in range(2))
    flow = RelativeGradientFlow(
        1, activation="leaky_tanh", base_distribution="student_t", random_state=0
    ).fit(X)
    truth = stats.t(3).logpdf(X_test).sum(1).mean()
    assert flow.score(X_test) == pytest.approx(truth, abs=0.1)
    np.testing.assert_allclose(flow.flow_.base.df, 3, atol=1)
    normal = clone(flow).set_params(base_distribution="normal", max_iter=20)
    assert normal.fit(X).score(X_test) < truth - 0.3


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_precision_costs_little(precision, rng):
    X = rng.normal(size=(500, 30)) @ rng.normal(size=(30, 30))
    scores = [
        RelativeGradientFlow(
            2, matmul_precision=p, max_iter=10, random_state=0, early_stopping=False
        )
        .fit(X)
        .score(X)
        for p in ("highest", precision)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_log_determinants_are_tracked_and_checked(rng):
    X = rng.normal(size=(1000, 40)) ** 3
    flow = RelativeGradientFlow(
        2, activation="leaky_tanh", batch_size=20, max_iter=10, random_state=0
    ).fit(X)
    assert abs(flow.log_det_drift_) < 1e-4
    exact = np.linalg.slogdet(flow.flow_.bijections[1].weight.detach().double().numpy())[1].sum()
    assert flow.log_det_ == pytest.approx(exact, abs=1e-9)


def test_nothing_is_tracked_where_a_batch_has_more_rows_than_columns(rng):
    X = rng.normal(size=(300, 4))
    assert RelativeGradientFlow(2, early_stopping=False, max_iter=2).fit(X).log_det_drift_ == 0


def test_read_only_and_mapped_arrays_are_read_in_place(rng, tmp_path):
    X = rng.normal(size=(200, 3)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    one, two = (RelativeGradientFlow(2, max_iter=3, random_state=0).fit(a) for a in (X, mapped))
    assert np.array_equal(one.score_samples(X), two.score_samples(mapped))
    assert np.array_equal(np.load(tmp_path / "X.npy"), X)


def test_blocks_make_no_difference(fitted, X):
    some = X[:100]
    many = np.tile(some, (340, 1))  # more rows than go through the flow at a time
    Z, scores = fitted.transform(some), fitted.score_samples(some)
    np.testing.assert_allclose(fitted.transform(many), np.tile(Z, (340, 1)), atol=1e-10)
    np.testing.assert_allclose(fitted.score_samples(many), np.tile(scores, 340), rtol=1e-10)
    assert fitted.sample(34_000, random_state=0).shape == (34_000, 2)
    back = fitted.inverse_transform(np.tile(Z, (340, 1)))
    np.testing.assert_allclose(back, many, rtol=1e-8, atol=1e-8)
