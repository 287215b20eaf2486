"""Timing functions in turns, so that whatever else the machine does meets them all alike."""

import time

import numpy as np

__all__ = ["alternate", "time_calls", "time_thread"]

_SLOW = 2.0  # seconds that are not spent on a second call for warming up


def time_calls(function, n_calls=1):
    """Return the mean seconds of a call of `function`, of `n_calls` in a row."""
    started = time.perf_counter()
    for _ in range(n_calls):
        function()
    return (time.perf_counter() - started) / n_calls


def time_thread(function, n_calls, n_turns):
    """Return the median processor time of a call, of some turns, in milliseconds."""
    function()
    turns = []
    for _ in range(n_turns):
        started = time.thread_time()
        for _ in range(n_calls):
            function()
        turns.append((time.thread_time() - started) / n_calls)
    return 1e3 * float(np.median(turns))


def alternate(functions, rounds, *, budget=30.0, least_rounds=3, turn=0.02):
    """Return the median seconds of a call of each function.

    The functions are called once or twice first, which is not timed. Then each has its turn in
    each round: as many calls as take some `turn` seconds. Those that would take more than
    `budget` seconds in all sit out some of the rounds, evenly spread.

    Parameters
    ----------
    functions : dict of str to callable
    rounds : int
    budget : float, default=30.0
        Seconds for each function.
    least_rounds : int, default=3
        The rounds that a function takes part in, whatever it costs.
    turn : float, default=0.02

    Returns
    -------
    medians : dict of str to float
    """
    n_calls, n_turns = {}, {}
    for name, function in functions.items():
        seconds = time_calls(function)
        if seconds < _SLOW:
            seconds = time_calls(function)
        n_calls[name] = max(1, round(turn / seconds))
        affordable = int(budget / (n_calls[name] * seconds))
        n_turns[name] = min(rounds, max(least_rounds, affordable))
    times = {name: [] for name in functions}
    for k in range(rounds):
        for name, function in functions.items():
            if k * n_turns[name] % rounds < n_turns[name]:
                times[name].append(time_calls(function, n_calls[name]))
    return {name: float(np.median(seconds)) for name, seconds in times.items()}
