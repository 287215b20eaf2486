import io
import time
from copy import deepcopy

import pytest
import torch

from skflow.exceptions import DivergenceError
from skflow.flow import Flow, LeakyTanh, LinearStack, Normal, SmoothLeakyReLU
from skflow.training.batches import Batches
from skflow.training.few_rows import FitOfFewRows
from skflow.training.fits import Refit, Stopping, Training, TrainingFit, run
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD
from skflow.training.rows import Rows
from skflow.training.scores import mean_log_prob


@pytest.fixture
def rows(generator):
    x = torch.randn(400, 3, generator=generator)
    return x + 0.5 * x.square()


@pytest.fixture
def flow(rows, generator):
    stack = LinearStack(2, 3, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=3)
    flow.initialize(rows, generator)
    return flow


def fit(flow, rows, generator, *, rate=0.05, optimizer=RelativeSGD, batch_size=50, **kwargs):
    stopping = Stopping(**{"max_iter": 20, "n_iter_no_change": 100} | kwargs.pop("stopping", {}))
    report = kwargs.pop("report", None)
    rows = rows if isinstance(rows, Rows) else Rows(rows)
    training = Training(flow, Batches(rows, batch_size, generator), optimizer(flow), rate=rate)
    return run(TrainingFit(training, stopping, **kwargs), report)


@pytest.mark.parametrize("optimizer", [RelativeSGD, Adam])
def test_likelihood_rises_and_is_recorded(flow, rows, generator, optimizer):
    before = mean_log_prob(flow, Rows(rows))
    rate = 0.05 if optimizer is RelativeSGD else 0.01
    history = fit(
        flow,
        rows[100:],
        generator,
        rate=rate,
        optimizer=optimizer,
        stopping={"max_iter": 80},
        validation=Rows(rows[:100]),
    )
    assert mean_log_prob(flow, Rows(rows)) > before + 0.02
    assert history.n_epochs == len(history.validation_scores) == 80
    assert history.n_steps == 80 * 6
    assert history.best_score == max(history.validation_scores)
    assert mean_log_prob(flow, Rows(rows[:100])) == pytest.approx(history.best_score)


def test_full_batch_loss_is_the_exact_negative_log_likelihood(flow, rows, generator):
    # A rate of almost zero: the flow of the first and of the last step are the same.
    history = fit(flow, rows, generator, rate=1e-12, batch_size=400, stopping={"max_iter": 2})
    assert history.losses == pytest.approx([-mean_log_prob(flow, Rows(rows))] * 2, abs=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_recorded_is_in_the_units_of_the_rows(flow, rows, generator, weighted):
    # The first bijection has another log-determinant at each row.
    front = SmoothLeakyReLU()
    weights = torch.rand(400, generator=generator, dtype=torch.float64) if weighted else None
    behind = Rows(rows, front=front, weights=weights, dtype=torch.float32)
    history = fit(
        flow,
        behind,
        generator,
        rate=1e-12,
        batch_size=400,
        stopping={"max_iter": 1},
        validation=behind.subset(slice(50)),
    )
    whole = Flow([front, *flow.bijections], Normal(), n_features=3)

    def expected(some):
        with torch.no_grad():
            log_prob = whole.log_prob(rows[some].double())
        return float((log_prob * (1 if weights is None else weights[some])).sum()) / (
            len(log_prob) if weights is None else float(weights[some].sum())
        )

    assert history.best_score == pytest.approx(expected(slice(50)), abs=1e-5)
    assert history.losses[0] == pytest.approx(-expected(slice(400)), abs=1e-5)


def test_first_weights_are_kept_if_none_are_better(flow, rows, generator):
    before = flow.state_dict()["_bijections.0.weight"].clone()
    validation = flow.sample(200, generator=generator, dtype=torch.float32).detach()
    history = fit(flow, rows[:5] + 3, generator, rate=0.02, validation=Rows(validation))
    assert history.best_score == history.initial_score
    assert torch.equal(flow.state_dict()["_bijections.0.weight"], before)


def test_a_stalled_fit_lands(flow, rows, generator):
    reports = []
    history = fit(
        flow,
        rows[:20],
        generator,
        batch_size=20,
        rate=0.2,
        stopping={"max_iter": 1000, "n_iter_no_change": 15},
        validation=Rows(rows[200:]),
        report=reports.append,
    )
    assert history.stopped_early
    assert history.n_epochs < 500
    # The schedule is completed all the same.
    assert reports[-1].progress == 1.0
    assert reports[-1].rate == pytest.approx(0.0, abs=1e-12)
    assert [report.epoch for report in reports] == list(range(1, history.n_epochs + 1))


def test_a_fit_ends_in_time_with_its_schedule_completed(flow, rows, generator):
    reports = []
    started = time.perf_counter()
    stopping = {"max_iter": 10**6, "max_time": 0.5, "started": started}
    fit(
        flow, rows, generator, stopping=stopping, validation=Rows(rows[:50]), report=reports.append
    )
    assert reports[-1].progress == 1.0
    assert reports[-1].rate == pytest.approx(0.0, abs=1e-12)
    assert len(reports) < 10**6


def test_a_report_can_end_the_fit(flow, rows, generator):
    reports = []

    def report(epoch):
        reports.append(epoch)
        return epoch.epoch == 3

    history = fit(flow, rows[100:], generator, validation=Rows(rows[:100]), report=report)
    assert history.n_epochs == len(history.validation_scores) == 3
    assert [epoch.progress for epoch in reports] == [0.05, 0.1, 0.15]
    # It ends at once, without bringing the learning rate down, and keeps the best weights.
    assert reports[-1].rate == pytest.approx(0.05, rel=0.05)
    assert mean_log_prob(flow, Rows(rows[:100])) == pytest.approx(history.best_score)


def test_reports_say_how_long_it_takes(flow, rows, generator):
    reports = []
    fit(flow, rows, generator, report=reports.append)
    seconds = [epoch.seconds for epoch in reports]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert all(epoch.seconds_left > 0 for epoch in reports[:-1])
    assert reports[-1].seconds_left == 0


def test_a_non_finite_step_is_skipped_and_the_rate_lowered(flow, rows, generator):
    rows[17] = 1e30
    before = mean_log_prob(flow, Rows(rows[50:]))
    history = fit(flow, rows, generator, stopping={"max_iter": 1})
    assert (history.n_steps, history.n_skipped, history.rate) == (7, 1, 0.025)
    assert all(torch.isfinite(parameter).all() for parameter in flow.parameters())
    assert mean_log_prob(flow, Rows(rows[50:])) > before


def test_after_a_non_finite_step_the_best_weights_come_back(flow, rows, generator):
    best = flow.state_dict()["_bijections.0.weight"].clone()
    history = fit(
        flow,
        torch.full((50, 3), 1e30),
        generator,
        stopping={"max_iter": 3},
        validation=Rows(rows),
    )
    assert history.n_skipped > 0
    assert torch.equal(flow.state_dict()["_bijections.0.weight"], best)


def test_a_fit_that_cannot_go_on_raises(flow, generator):
    with pytest.raises(DivergenceError, match=r"21 steps in a row .* Set learning_rate lower"):
        fit(flow, torch.full((50, 3), 1e30), generator, stopping={"max_iter": 30})
    assert all(torch.isfinite(parameter).all() for parameter in flow.parameters())


def test_weights_are_kept_only_if_they_surpass_the_start_by_errors(flow, rows, generator):
    before = flow.state_dict()["_bijections.0.weight"].clone()
    validation = Rows(rows[:100])
    history = fit(flow, rows[100:], generator, validation=validation, standard_errors=1000.0)
    assert max(history.validation_scores) > history.initial_score + 0.01
    assert history.best_score == history.initial_score
    assert history.path == []
    assert torch.equal(flow.state_dict()["_bijections.0.weight"], before)


@pytest.mark.parametrize("patience", [100, 8])
def test_a_refit_to_the_same_rows_ends_at_the_same_weights(flow, rows, patience):
    start, x, validation = deepcopy(flow), rows[:60], Rows(rows[60:])
    history = fit(
        flow,
        x,
        torch.Generator().manual_seed(0),
        batch_size=60,  # one batch, whose order does not matter
        rate=0.1,
        # No score rises by as much: a fit that is patient for less than its epochs lands.
        stopping={"max_iter": 100, "n_iter_no_change": patience, "tol": 100.0},
        validation=validation,
    )
    assert history.stopped_early == (patience == 8)
    assert 0 < len(history.path) <= history.n_epochs
    batches = Batches(Rows(x), 60, torch.Generator())
    training = Training(start, batches, RelativeSGD(start), rate=0.1)
    again = run(Refit(training, history.path))
    assert again.n_steps == len(history.path)
    assert mean_log_prob(start, validation) == pytest.approx(history.best_score, abs=1e-4)


@pytest.mark.slow
def test_the_path_leaves_out_what_was_taken_back(flow, rows):
    patience, landed_higher = 5, False
    for seed in range(10):
        history = fit(
            deepcopy(flow),
            rows[:200],
            torch.Generator().manual_seed(seed),
            batch_size=10,
            rate=0.03,
            stopping={"max_iter": 1000, "n_iter_no_change": patience},
            validation=Rows(rows[200:]),
        )
        assert history.stopped_early
        scores = torch.tensor([history.initial_score, *history.validation_scores])
        highest = scores.cummax(0)
        since = torch.arange(len(scores)) - highest.indices
        landing = int((since >= patience).nonzero()[0])
        best, before = int(scores.argmax()), int(highest.indices[landing])
        length = best if best <= landing else before + best - landing
        assert len(history.path) == length
        landed_higher |= best > landing
    assert landed_higher


def begun(flow, rows, optimizer, n_rows, *, with_validation=True):
    """Begin a fit, the same at each call."""
    flow = deepcopy(flow)
    batches = Batches(Rows(rows[:100]), n_rows, torch.Generator().manual_seed(5))
    training = Training(flow, batches, optimizer(flow), rate=0.02)
    validation = Rows(rows[300:]) if with_validation else None
    return TrainingFit(training, Stopping(max_iter=12, n_iter_no_change=3), validation=validation)


def restored(state):
    """Return a state after a way through a file that holds no code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same_end(one, other):
    first, second = run(one), run(other)
    assert first == second
    for found, expected in zip(
        one.flow.state_dict().values(), other.flow.state_dict().values(), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("n_epochs", [0, 7])
@pytest.mark.parametrize("n_rows", [2, 50])  # fewer than columns, and more
@pytest.mark.parametrize("optimizer", [NormalizedRelativeSGD, RelativeSGD, Adam])
def test_a_fit_goes_on_from_its_state_bit_for_bit(flow, rows, optimizer, n_rows, n_epochs):
    fit, resumed = (begun(flow, rows, optimizer, n_rows) for _ in range(2))
    for _ in range(n_epochs):
        fit.advance()
    state = restored(fit.state_dict())
    resumed.load_state_dict(state)
    assert_same_end(resumed, fit)
    # A state is a copy: it leads to the same end again.
    again = begun(flow, rows, optimizer, n_rows)
    again.load_state_dict(state)
    assert_same_end(again, resumed)


def few(flow, rows):
    """Begin two candidates and what follows, the same at each call."""

    def refit(k, history):
        refitted = deepcopy(flow)
        batches = Batches(Rows(rows), 50, torch.Generator().manual_seed(k))
        training = Training(refitted, batches, RelativeSGD(refitted), rate=0.02)
        return Refit(training, history.path)

    optimizers = (RelativeSGD, NormalizedRelativeSGD)
    candidates = [lambda made=made: begun(flow, rows, made, 50) for made in optimizers]
    return FitOfFewRows(candidates, refit)


@pytest.mark.parametrize("n_epochs", [3, 12, 14, 25])
def test_fits_of_few_rows_go_on_from_their_state(flow, rows, n_epochs):
    fit, resumed = few(flow, rows), few(flow, rows)
    for _ in range(n_epochs):
        assert not fit.is_done
        fit.advance()
    resumed.load_state_dict(restored(fit.state_dict()))
    assert_same_end(resumed, fit)
    assert len(fit.histories) == 2


def test_the_better_candidate_is_followed(flow, rows):
    fit = few(flow, rows)
    reports = []
    history = run(fit, reports.append)
    scores = [candidate.best_score for candidate in fit.histories]
    assert history.best_score == max(scores)
    assert fit.best == scores.index(max(scores))
    assert history.n_epochs == len(fit.histories[fit.best].path)
    assert {(epoch.fit, epoch.n_fits) for epoch in reports} == {(1, 3), (2, 3), (3, 3)}
    assert history.validation_scores == []


def test_an_interrupted_candidate_is_what_is_left(flow, rows):
    fit = few(flow, rows)
    history = run(fit, lambda epoch: epoch.epoch == 2)
    assert history.interrupted
    assert fit.histories == []
    assert history.n_epochs == 2
    assert mean_log_prob(fit.flow, Rows(rows[300:])) == pytest.approx(history.best_score)


def test_where_no_epoch_is_better_all_rows_keep_the_start(flow, rows):
    def candidate():
        fit = begun(flow, rows, RelativeSGD, 50)
        fit.standard_errors = 1e6
        return fit

    def refit(k, history):
        refitted = deepcopy(flow)
        batches = Batches(Rows(rows), 50, torch.Generator())
        return Refit(Training(refitted, batches, RelativeSGD(refitted), rate=0.02), history.path)

    fit = FitOfFewRows([candidate], refit)
    history = run(fit)
    assert history.losses == history.path == []
    assert torch.equal(fit.flow.bijections[0].weight, flow.bijections[0].weight)
