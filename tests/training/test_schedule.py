import pytest

from skflow.training.schedule import Budget, annealing, gaussian_penalty


def test_annealing_warms_up_and_falls_to_zero():
    rates = [annealing(i / 1000) for i in range(1001)]
    peak = rates.index(max(rates))
    assert rates[0] == 0.0
    assert rates[peak] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.fixture
def clock(monkeypatch):
    """Stop the clock; returns a function that moves it on."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


def test_progress_is_the_larger_share(clock):
    budget = Budget(n_steps=10, max_time=20.0, started=96.0)  # four seconds went before
    budget.steps_done = 5
    assert budget.progress == 0.5
    clock(12.0)
    assert budget.progress == 0.75
    budget.reserve(4.0)
    assert budget.progress == 1.0


def test_landing_ends_the_schedule_in_time(clock):
    budget = Budget(n_steps=100, max_time=None, started=100.0)
    budget.steps_done = 20
    budget.land(10)
    assert budget.progress == 0.2
    budget.steps_done = 25
    assert budget.progress == pytest.approx(0.6)
    budget.steps_done = 30
    assert budget.progress == 1.0


def test_the_time_left_goes_by_steps_landing_and_limit(clock):
    budget = Budget(n_steps=100, max_time=60.0, started=90.0)  # ten seconds went before
    clock(10.0)
    budget.steps_done = 20
    assert budget.seconds == pytest.approx(10.0)
    assert budget.seconds_left == pytest.approx(40.0)  # both by the steps and by the limit
    clock(10.0)
    budget.steps_done = 25
    assert budget.seconds_left == pytest.approx(30.0)  # by the limit
    budget.land(10)
    assert budget.seconds_left == pytest.approx(8.0)
    budget.steps_done = 35
    assert budget.progress == 1.0
    assert budget.seconds_left == 0.0


def test_only_long_trainings_are_whitened():
    pulls = [gaussian_penalty(n_steps) for n_steps in range(0, 100_000, 100)]
    assert pulls[:51] == [0.0] * 51
    assert pulls == sorted(pulls)
    assert 0.04 < pulls[-1] < 0.05


def test_steps_are_expected_by_the_limit_or_by_the_time(clock):
    budget = Budget(n_steps=1000, max_time=30.0, started=90.0)  # ten seconds went before
    assert budget.n_steps_expected == 1000
    clock(2.0)
    budget.steps_done = 50
    assert budget.n_steps_expected == pytest.approx(500)
    budget.steps_done = 200
    assert budget.n_steps_expected == 1000
    budget.land(10)
    assert budget.n_steps_expected == 1000
