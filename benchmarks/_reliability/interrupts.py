"""Ctrl-C at random moments of small fits, once or twice.

A moment is the number of a call, of Python's or of a library's, which a profiler counts. The fit
must end with a warning and finite scores, or raise and leave an estimator that was fitted before
as it was, or with the new fit as a whole. Python's handler must be back each time.
"""

import signal
import sys
import warnings
from collections import Counter

import numpy as np
from _common import write_csv
from sklearn.exceptions import ConvergenceWarning

from skflow import ConditionalFlow, RelativeGradientFlow

OPTIONS = {"max_iter": 4, "batch_size": 30, "random_state": 0}


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--fits", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)


def run(arguments):
    """Run the campaign, and write its figures."""
    # A process in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(arguments.seed)
    cases = made_cases()
    n_calls = {name: calls_of_a_fit(*case) for name, case in cases.items()}
    lines = []
    for _ in range(arguments.fits):
        name = str(rng.choice(list(cases)))
        n_times = int(rng.integers(1, 3))
        # Most moments are late, as most calls look for the mixture that a fit starts from.
        late = 1 - rng.uniform(size=n_times) ** 3
        moments = sorted(1 + int(moment) for moment in late * n_calls[name])
        found = outcome(*cases[name], moments)
        lines.append({"what": name, "calls": " ".join(map(str, moments)), "outcome": found})
        if found.startswith("FAILED"):
            print(lines[-1], flush=True)
    write_csv(arguments.results / "reliability_interrupts.csv", lines)
    for found, count in sorted(Counter(line["outcome"] for line in lines).items()):
        print(f"{count} of {len(lines)}: {found}")


def made_cases():
    """Return what makes estimators, and the arguments of their fits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3)) + 4 * rng.integers(2, size=(120, 1))

    def flow(**options):
        return RelativeGradientFlow(n_layers=2, **OPTIONS, **options)

    def conditional():
        return ConditionalFlow(n_trees=0, **OPTIONS)

    return {
        "from a mixture": (flow, (X,)),
        "without a mixture": (lambda: flow(base_distribution="logistic"), (X,)),
        "no held-out rows": (lambda: flow(early_stopping=False), (X,)),
        "one target": (conditional, (X[:, :2], X[:, 2])),
        "two targets": (conditional, (X[:, :1], X[:, 1:])),
    }


def calls_of_a_fit(make, takes):
    """Return how many calls a fit does that is not the first one."""
    make().fit(*takes)
    return pressed(lambda: make().fit(*takes), ())


def pressed(call, moments):
    """Press Ctrl-C as a call does its nth calls, and return how many it does."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += 1
        if count in moments:
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


def outcome(make, takes, moments):
    """Fit an estimator that was fitted before, and return what came of it."""
    estimator = make().fit(*takes)
    before, scores = dict(vars(estimator)), estimator.score_samples(*takes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            n_calls = pressed(lambda: estimator.fit(*takes), moments)
            warned = any(issubclass(one.category, ConvergenceWarning) for one in caught)
            if n_calls < moments[0]:
                found = "had ended"
            else:
                found = "ended with a warning" if warned else "FAILED: nothing happened"
        except KeyboardInterrupt:
            found = "raised, and the estimator stayed as it was"
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return "FAILED: Python's handler is not back"
    after = estimator.score_samples(*takes)
    is_as_it_was = all(vars(estimator)[name] is value for name, value in before.items())
    if found.startswith("raised") and not is_as_it_was:
        # The same rows and seed: a whole fit has the same scores.
        same = np.array_equal(after, scores)
        return "raised, and the estimator has the new fit" if same else "FAILED: half a fit"
    return found if np.isfinite(after).all() else "FAILED: scores are not finite"
