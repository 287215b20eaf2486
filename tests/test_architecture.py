"""What "auto" stands for, and that the flow is built as asked for."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from skflow import RelativeGradientFlow, SmoothLeakyReLU, default_bijections
from skflow.flow import (
    AffineCoupling,
    ElementwiseSpline,
    LatentTails,
    LinearStack,
    SplineCoupling,
)
from skflow.training.defaults import network_settings, resolve, training_settings


@pytest.mark.parametrize(
    ("shape", "n_layers", "coupling", "n_hidden"),
    [
        ((150, 4), 3, "spline", 24),
        ((250, 10), 4, "spline", 32),
        ((5000, 10), 6, "spline", 64),
        ((5000, 1), 6, None, 64),
        ((5000, 100), 3, "spline", 32),
        ((10**6, 63), 6, "spline", 32),
        ((5000, 784), 2, None, 32),
    ],
)
def test_auto_follows_rows_and_columns(shape, n_layers, coupling, n_hidden):
    chosen = network_settings(*shape)
    assert (chosen.activation, chosen.n_layers) == ("spline", n_layers)
    assert (chosen.coupling, chosen.n_hidden) == (coupling, n_hidden)


def test_bins_follow_rows_and_columns():
    bins = [network_settings(n, 10).n_bins for n in (100, 1000, 2000, 10**6)]
    assert bins == [8, 8, 16, 16]
    shapes = ((100, 2), (5000, 2), (20_000, 2), (10**6, 2), (20_000, 10), (10**6, 10))
    assert [network_settings(*shape).n_coupling_bins for shape in shapes] == [4, 4, 8, 16, 8, 8]


@pytest.mark.parametrize("n_features", [1, 2, 3, 8, 32, 33, 64, 256, 257, 784])
def test_one_more_row_in_a_hundred_changes_no_size_by_more_than_its_unit(n_features):
    n_rows = 20
    parameters = RelativeGradientFlow().get_params()
    while n_rows < 10**6:
        more = n_rows + max(1, n_rows // 100)
        one, other = network_settings(n_rows, n_features), network_settings(more, n_features)
        assert one.coupling == other.coupling
        assert other.n_layers - one.n_layers in (0, 1)
        assert other.n_bins / one.n_bins in (1, 2)
        assert other.n_coupling_bins / one.n_coupling_bins in (1, 2)
        assert other.n_hidden - one.n_hidden in (0, 8)
        fewer, later = (training_settings(parameters, n, n_features) for n in (n_rows, more))
        assert later.batch_size - fewer.batch_size in (0, 32)
        assert fewer.max_iter >= later.max_iter > 0.97 * fewer.max_iter - 1
        assert fewer.input_noise >= later.input_noise > 0.94 * fewer.input_noise
        assert fewer.weight_decay >= later.weight_decay > 0.94 * fewer.weight_decay
        n_rows = more


@pytest.mark.parametrize("activation", ["leaky_tanh", SmoothLeakyReLU()])
def test_fixed_activations_come_without_couplings(activation):
    chosen = network_settings(5000, 10, activation=activation)
    assert (chosen.n_layers, chosen.coupling) == (5, None)


def training(n_rows, n_features=10, **kwargs):
    return training_settings(RelativeGradientFlow(**kwargs).get_params(), n_rows, n_features)


def test_training_is_sized_too():
    sizes = [training(n).batch_size for n in (9, 500, 1000, 2000, 4096, 10**6)]
    assert sizes == [32, 32, 32, 96, 192, 256]
    epochs = [training(n, batch_size=100).max_iter for n in (100, 5000, 10_000, 10**7)]
    assert epochs == [100, 100, 50, 1]
    shapes = ((100, 20), (1000, 20), (10_000, 20), (1000, 2))
    noise = [training(*shape).input_noise for shape in shapes]
    assert noise == pytest.approx([0.05, 0.05, 0.005, 0.01])
    decays = [
        training(n, d).weight_decay for n, d in ((100, 10), (5000, 99), (15_000, 10), (9, 1))
    ]
    assert decays == pytest.approx([3.0, 3.0, 1.0, 0.03])


def test_settings_are_what_the_parameters_come_to():
    few = resolve(RelativeGradientFlow().get_params(), 500, 4)
    assert (few.n_validation, few.refits) == (50, True)
    assert few.input_noises == pytest.approx([0.05 * 400 / 450, 0.2 * 400 / 450])
    assert few == resolve(RelativeGradientFlow(random_state=1).get_params(), 500, 4)
    assert few != resolve(RelativeGradientFlow(coupling=None).get_params(), 500, 4)
    assert not any("auto" in repr(value) for value in vars(few).values())
    many = resolve(RelativeGradientFlow(input_noise=0.3).get_params(), 5000, 4)
    assert (many.n_validation, many.refits, many.input_noises) == (500, False, (0.3,))
    without = resolve(RelativeGradientFlow(early_stopping=False).get_params(), 500, 4)
    assert (without.n_validation, without.refits, len(without.input_noises)) == (0, False, 1)
    with pytest.raises(FrozenInstanceError):
        few.n_validation = 3


def test_the_order_is_spline_dense_and_then_coupling_spline_dense():
    def kinds(n_layers, activation, coupling):
        return [
            type(bijection)
            for bijection in default_bijections(
                2000, 4, n_layers=n_layers, activation=activation, coupling=coupling
            )
        ]

    first, last = [ElementwiseSpline, LinearStack], [ElementwiseSpline, LinearStack, LatentTails]
    assert kinds(1, "spline", "spline") == [*first, LatentTails]
    assert kinds(2, "spline", "affine") == [*first, AffineCoupling, *last]
    assert kinds(2, "spline", None) == [*first, *last]
    assert kinds(3, SmoothLeakyReLU(), None) == [LinearStack]
    assert kinds(2, SmoothLeakyReLU(), "spline") == [
        *(LinearStack, SplineCoupling, SmoothLeakyReLU, LinearStack)
    ]


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_one_column_is_not_coupled(coupling, rng):
    X = rng.normal(size=(50, 1))
    with pytest.raises(ValueError, match=rf"coupling='{coupling}' takes two columns.*X has 1"):
        RelativeGradientFlow(coupling=coupling).fit(X)
    assert RelativeGradientFlow(max_iter=2).fit(X).score(X) > -2


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("coupling", ["affine", "spline", None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_coupling_fits_and_inverts(coupling, dtype, rng):
    X = rng.normal(size=(400, 3)) ** 3
    flow = RelativeGradientFlow(coupling=coupling, dtype=dtype, max_iter=5, random_state=0).fit(X)
    gaussian = GaussianMixture(reg_covar=1e-6).fit(X)
    assert flow.score(X) > gaussian.score(X) + 2
    np.testing.assert_allclose(flow.inverse_transform(flow.transform(X)), X, atol=1e-7)


def test_a_fit_is_never_below_the_gaussian_that_it_could_start_from(rng):
    # Splines through the quantiles of so few rows are worse than none.
    X = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8))
    start = RelativeGradientFlow(max_iter=1, learning_rate=1e-12, random_state=0).fit(X)
    plain = RelativeGradientFlow(
        n_layers=1, activation="leaky_tanh", max_iter=1, learning_rate=1e-12, random_state=0
    ).fit(X)
    # Folds of 54 rows weigh mixtures, and no more than 6 others judge them here.
    assert start.best_validation_score_ > plain.best_validation_score_ - 0.4
    # Weights are chosen by scores in which none of these rows outvotes the rest: their plain mean
    # may be a little lower.
    assert RelativeGradientFlow(random_state=0).fit(X).best_validation_score_ >= (
        start.best_validation_score_ - 0.25
    )
