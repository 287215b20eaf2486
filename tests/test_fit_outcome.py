"""How a fit ends: finite or not at all, at once, with what was chosen for all to see."""

import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from skflow import RelativeGradientFlow, default_bijections
from skflow.datasets import half_moons
from skflow.exceptions import DivergenceError
from skflow.flow import (
    ElementwiseSpline,
    Flow,
    LinearStack,
    Normal,
    SmoothLeakyReLU,
    Standardize,
)
from skflow.training.outcome import Start
from skflow.training.rows import Rows

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(2000, random_state=0)


@pytest.fixture
def flow():
    return RelativeGradientFlow(n_layers=2, max_iter=2, random_state=0)


class Keeping:
    """A callback that keeps pickles of what the estimator is after each epoch."""

    def __init__(self, kept):
        self.kept = kept

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.kept.append(pickle.dumps(fitted_estimator))


class TestFiniteOrRaised:
    def test_a_fit_that_ends_below_its_start_says_so(self, X):
        flow = RelativeGradientFlow(
            learning_rate=1.0, early_stopping=False, max_iter=5, random_state=0
        )
        with pytest.warns(
            RuntimeWarning, match=r"below its start.* Set learning_rate lower than 1"
        ):
            flow.fit(X)
        # With rows that are held out, the start would have been kept.
        assert flow.set_params(early_stopping=True).fit(X).score(X) > -3

    def test_weights_that_are_not_finite_are_refused(self, X, flow):
        """A bijection that trains to infinity, which no step notices."""

        class Runaway(SmoothLeakyReLU):
            def __init__(self):
                super().__init__()
                self.extra = torch.nn.Parameter(torch.zeros(1))

            def forward_and_pullback(self, x, *, input_gradient=True):
                self.extra.data.fill_(torch.inf)
                return super().forward_and_pullback(x, input_gradient=input_gradient)

        def bijections(*args, **kwargs):
            return [*default_bijections(*args, **kwargs), Runaway()]

        flow.fit(X)
        before = flow.score_samples(X)
        flow.set_params(bijections=bijections, n_layers=1, early_stopping=False)
        with pytest.raises(DivergenceError, match="weights that are not finite"):
            flow.fit(X)
        flow.set_params(bijections=None)
        assert np.array_equal(flow.score_samples(X), before)

    @pytest.mark.parametrize("optimizer", ["relative", "sgd", "adam"])
    def test_extreme_weights(self, X, flow, optimizer):
        """They count relative to each other, whatever their size."""
        flow.set_params(optimizer=optimizer)
        heavy = clone(flow).fit(X, sample_weight=np.full(len(X), 2.0**70))
        most = clone(flow).fit(X, sample_weight=np.full(len(X), 2.0**126))
        assert np.isfinite(heavy.score(X))
        assert np.array_equal(heavy.score_samples(X), most.score_samples(X))
        uneven = np.ones(len(X))
        uneven[:3] = 1e38
        try:
            scores = clone(flow).fit(X, sample_weight=uneven).score_samples(X)
        except DivergenceError:
            return
        assert np.isfinite(scores).all()

    def test_skipped_steps_give_one_warning(self, X, flow):
        def bijections(n_rows, n_features, **settings):
            class Overflowing(ElementwiseSpline):
                n_calls = 0

                def forward_and_pullback(self, x, *, input_gradient=True):
                    self.n_calls += 1
                    x = x * torch.inf if self.n_calls in {3, 5, 6} else x
                    return super().forward_and_pullback(x, input_gradient=input_gradient)

            usual = default_bijections(n_rows, n_features, **settings)
            return [Overflowing(n_features), *usual]

        flow.set_params(bijections=bijections, n_layers=1, early_stopping=False)
        with pytest.warns(RuntimeWarning, match=r"3 step\(s\) were not finite") as record:
            flow.fit(X)
        assert len(record) == 1
        assert flow.learning_rate_ == pytest.approx(0.2 / 8)


class TestAllAtOnce:
    def test_rows_are_scored_by_the_fit_before_while_another_goes_on(self, X, flow):
        wide = np.c_[X, X[:, ::-1] ** 3]
        flow.fit(X)
        scores, sample = flow.score_samples(X), flow.sample(3, random_state=0)
        seen = []

        def bijections(*args, **kwargs):
            # In the middle of a fit to other columns, and after what was checked of them.
            seen.append((flow.score_samples(X), flow.sample(3, random_state=0), flow.transform(X)))
            return default_bijections(*args, **kwargs)

        before = flow.transform(X)
        flow.set_params(bijections=bijections).fit(wide)
        assert flow.n_features_in_ == 4
        assert len(seen) == 1
        for value, expected in zip(seen[0], (scores, sample, before), strict=True):
            assert np.array_equal(value, expected)

    def test_fits_in_inference_mode_can_train_and_differentiate(self, X, flow):
        with torch.inference_mode():
            flow.fit(X)
            flow.score_samples(X)
            flow.sample(2)
        x = torch.tensor(X[:3], requires_grad=True)
        flow.flow_.log_prob(x).sum().backward()
        assert torch.isfinite(x.grad).all()
        assert np.isfinite(flow.partial_fit(X).score(X))

    def test_too_little_memory_is_a_memory_error(self, X, flow):
        with pytest.raises(MemoryError, match=r"Pass fewer rows at a time"):
            flow.fit(X).sample(10**13)


class TestWhatIsExposed:
    def test_what_auto_became(self, X):
        flow = RelativeGradientFlow(max_iter=1, random_state=0).fit(X)
        assert (flow.n_layers_, flow.batch_size_, flow.max_iter_) == (6, 64, 1)
        assert flow.learning_rate_ == pytest.approx(0.2 / np.sqrt(6))
        assert flow.input_noise_ == pytest.approx(0.05 * 200 / 1800)
        flow.partial_fit(X)
        assert (flow.n_layers_, flow.batch_size_, flow.input_noise_) == (6, 64, 0.0)
        assert flow.learning_rate_ == pytest.approx(0.25 * 0.2 / np.sqrt(6))
        assert flow.n_samples_seen_ == 2 * len(X)
        assert flow.fit_time_ > 0

    def test_a_fitted_estimator_says_what_it_is(self, X, flow):
        assert "#" not in repr(flow)
        flow.fit(X)
        line = (
            r"RelativeGradientFlow\(max_iter=2, n_layers=2, random_state=0\)  # 2 dense layers, "
            r"splines of 16 and 8 bins, spline couplings of 4 bins; 2,000 rows of 2 columns in "
            r"\d+\.\d s, -\d\.\d+ nats of held-out rows"
        )
        assert re.fullmatch(line, repr(flow))
        assert eval(repr(flow), {"RelativeGradientFlow": RelativeGradientFlow}).n_layers == 2
        html = flow._repr_mimebundle_()["text/html"]
        assert "2 dense layers" in html
        assert "2 dense layers" in flow._repr_html_()
        flow.partial_fit(X)
        assert "nats of its batches" in repr(flow)
        assert "1 dense layer," in repr(RelativeGradientFlow(1, max_iter=1).fit(X))

    def test_what_callbacks_get_can_be_used(self, X, flow):
        pytest.importorskip("sklearn.callback")
        kept = []
        flow.set_callbacks(Keeping(kept)).fit(X)
        first, last = map(pickle.loads, kept)
        assert np.array_equal(last.score_samples(X), flow.score_samples(X))
        expected = flow.partial_fit(X).score_samples(X)
        assert np.array_equal(last.partial_fit(X).score_samples(X), expected)
        assert np.isfinite(first.partial_fit(X).score(X))


class TestColumnsWithoutADensity:
    def warning(self, flow, X):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flow.fit(X)
        assert len(caught) <= 1
        return str(caught[0].message) if caught else ""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_each_kind_is_named_in_one_warning(self, X, flow, dtype):
        n = np.arange(len(X))
        columns = {
            "constant up to rounding": np.where(n % 2, 0.3, np.add(0.1, 0.2)),
            "a": X[:, 0],
            "codes": n % 5,
            "b": X[:, 1],
            "one hot": n % 5 == 1,
            "a again": -3 * X[:, 0] + 7,
            "b in other units": 1e-3 * X[:, 1] + 5,
            "constant": np.full(len(X), 1e9),
        }
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({name: column.astype(dtype) for name, column in columns.items()})
        message = self.warning(flow, frame)
        constant, rest = message.split("Whole numbers")
        whole, copies = rest.split("Copies")
        for part, names in (
            (constant, {"constant up to rounding", "constant"}),
            (whole, {"codes", "one hot"}),
            (copies, {"a again", "b in other units"}),
        ):
            assert {name for name in columns if f"('{name}')" in part} == names
        assert "DequantizationTransformer" in whole
        # Those that are constant are modelled as normal around what they are.
        sample = np.asarray(flow.sample(2000, random_state=0))
        assert np.median(sample[:, 0]) == pytest.approx(0.3, abs=0.3)
        assert np.std(sample[:, 0]) == pytest.approx(1, abs=0.5)

    def test_many_columns_are_counted(self, flow, rng):
        X = rng.integers(3, size=(300, 30)).astype(float)
        assert "and 20 more" in self.warning(flow, X)

    @pytest.mark.parametrize("loader", [load_iris, load_wine, load_breast_cancer])
    def test_no_word_where_there_is_nothing_to_say(self, flow, loader, rng):
        X = loader().data
        message = self.warning(flow, X)
        assert ("Whole" in message) == (loader is load_wine)  # magnesium
        assert bool(message) == (loader is not load_breast_cancer)
        assert self.warning(flow, rng.normal(size=(50, 3)).round(1)) == ""
        assert self.warning(flow, np.arange(12.0).reshape(4, 3)[:2]) == ""

    @pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")  # as it was noted
    def test_no_noise_is_reported_where_none_is_added(self):
        X = load_iris().data
        flow = RelativeGradientFlow(max_iter=1, random_state=0).fit(X)
        assert flow.input_noise_ == 0
        # Nor is the same fit made twice: one starts from a mixture, and one does not.
        assert len(flow.candidates_) == 2
        assert flow.set_params(input_noise=0.1).fit(X).input_noise_ == 0


class TestBijections:
    def test_those_of_the_default_are_the_default(self, X, flow):
        expected = clone(flow).fit(X).score_samples(X)
        flow.set_params(bijections=default_bijections)
        assert np.array_equal(flow.fit(X).score_samples(X), expected)
        twin = pickle.loads(pickle.dumps(clone(flow)))
        assert np.array_equal(twin.fit(X).score_samples(X), expected)

    def test_they_are_told_what_is_asked_for(self, X, flow):
        asked = []

        def bijections(*sizes, **settings):
            asked.append((sizes, settings))
            return default_bijections(*sizes, **settings)

        flow.set_params(bijections=bijections, dtype="float64", coupling="affine").fit(X)
        dtype = torch.float64
        settings = {"n_layers": 2, "activation": "auto", "coupling": "affine", "dtype": dtype}
        assert asked == [((2000, 2), settings)]
        assert {p.dtype for p in flow.flow_.parameters()} == {torch.float64}

    def test_they_may_be_of_ones_own(self, X, flow):
        def bijections(n_rows, n_features, **settings):
            return [ElementwiseSpline(n_features)]

        flow.set_params(bijections=bijections).fit(X)
        assert flow.n_layers_ == 0
        assert repr(flow).count("0 dense layers, splines of 16 bins")
        np.testing.assert_allclose(flow.inverse_transform(flow.transform(X)), X, atol=1e-8)

    def test_errors_say_what_is_wrong(self, X, flow):
        flow.set_params(bijections=lambda *_, **__: [torch.nn.Identity()])
        with pytest.raises(TypeError, match=r"skflow.flow.Bijection, got Identity\(\)"):
            flow.fit(X)
        flow.set_params(bijections="spline")
        with pytest.raises(ValueError, match=r"'bijections' parameter .* a callable or None"):
            flow.fit(X)


class TestFarBelowTheStart:
    """Fits whose learning rate is far too high, with no held-out row to tell."""

    @pytest.mark.parametrize("optimizer", ["relative", "adam"])
    def test_the_start_is_kept_without_early_stopping(self, X, optimizer):
        flow = RelativeGradientFlow(
            2, activation="leaky_tanh", max_iter=5, early_stopping=False, random_state=0
        )
        start = clone(flow).set_params(learning_rate=1e-9, max_iter=1).fit(X).score(X)
        with pytest.warns(RuntimeWarning, match=r"below its start.*of the start were kept"):
            flow.set_params(learning_rate=30.0, optimizer=optimizer).fit(X)
        assert flow.score(X) == pytest.approx(start, abs=1e-3)

    def test_weights_of_the_start_come_back(self, X, generator):
        flow = Flow([LinearStack(1, 2)], Normal(), n_features=2)
        x = torch.from_numpy(X[:50])
        flow.initialize(x, generator)
        front = Standardize(torch.zeros(2), torch.ones(2))
        start = Start(flow, Rows(x).behind(front, torch.arange(0), generator, torch.float32))
        kept = {name: each.clone() for name, each in flow.state_dict().items()}
        for factor, comes_back in ((1.01, False), (50.0, True)):
            for parameter in flow.parameters():
                parameter.data.mul_(factor)
            start.restore_if_better(flow)
            same = [torch.equal(each, kept[name]) for name, each in flow.state_dict().items()]
            assert all(same) == comes_back
