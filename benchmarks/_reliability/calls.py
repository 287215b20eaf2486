"""Fuzzed calls of the public interface.

Each call is one that is as it should be, with one or two of its arguments changed: other
containers, types, values and shapes, and objects that are nothing of the kind. Estimators get
parameters of that kind, too.
"""

from __future__ import annotations

import resource
import sys
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from _common import write_csv
from sklearn.exceptions import NotFittedError

from _reliability import verdicts
from _reliability.mutations import Mutated, mutated
from _reliability.valid_calls import Call, all_calls, subject
from skflow.exceptions import DivergenceError, InversionError

_ROOM = 12 * 2**30  # what calls may take, so that none takes the machine's
_SLOW_SECONDS = 20
# What may be raised, the most special first.
_ERRORS = (NotFittedError, DivergenceError, InversionError, MemoryError, ValueError, TypeError)

_PARAMETER = 0.35  # how often a fit gets a parameter that is changed


class Fuzzed(NamedTuple):
    """A call whose arguments were changed."""

    call: Call
    arguments: dict[str, Mutated]
    parameters: dict[str, Any]

    def __str__(self) -> str:
        changed = self.parameters | {name: each.value for name, each in self.arguments.items()}
        return f"{self.call.name}: " + ", ".join(f"{n}={_shown(v)}" for n, v in changed.items())


def _shown(value):
    text = " ".join(repr(value).split())
    kind = type(value).__name__
    return f"<{kind} {text if len(text) < 90 else text[:90] + '...'}>"


def fuzzed(seed: int, i: int) -> Fuzzed:
    """Return a call that these numbers determine.

    Parameters
    ----------
    seed, i : int
        Of the campaign, and the call's number.
    """
    rng = np.random.default_rng([seed, i])
    calls = all_calls()
    call = calls[rng.integers(len(calls))]
    parameters = {}
    if call.function in {"fit", "partial_fit", "fit_predict", "fit_transform"}:
        names = sorted(set(subject(call.subject).get_params(deep=False)) - {"verbose", "n_jobs"})
        if names and rng.random() < _PARAMETER:
            name = names[rng.integers(len(names))]
            parameters[name] = mutated(rng, "parameter", None).value
            if callable(parameters[name]):  # may raise what it likes
                parameters[name] = None
    names = list(call.arguments)
    n_changed = min(len(names), 0 if parameters else 1 + int(rng.random() < 0.2))
    arguments = {}
    for name in rng.choice(names, n_changed, replace=False):
        kind, valid = call.arguments[name]
        arguments[str(name)] = mutated(rng, kind, subject(valid) if kind == "estimator" else valid)
    return Fuzzed(call, arguments, parameters)


def _made(call, changed):
    """Return the subject of a call, and its arguments, all of them as new."""
    arguments = {
        name: subject(valid)
        if kind == "estimator"
        else np.copy(valid)
        if kind == "array"
        else valid
        for name, (kind, valid) in call.arguments.items()
    }
    return subject(call.subject) if call.subject else None, arguments | changed


def _watched(call, changed, parameters):
    """Make a call; return what it did, and what it changed although it failed."""
    owner, arguments = _made(call, changed)
    if parameters:
        owner.set_params(**parameters)
    function = getattr(owner, call.function) if call.subject else call.function
    before = verdicts.fingerprint(owner)
    inputs = {name: verdicts.fingerprint(value) for name, value in changed.items()}
    outcome = verdicts.watched(function, arguments)
    fault = ""
    if outcome.error is not None and before != verdicts.fingerprint(owner):
        fault = "estimator changed by a failed call"
    for name, mark in inputs.items():
        if name not in {"random_state"} and mark != verdicts.fingerprint(changed[name]):
            fault = f"{name} changed"
    if outcome.value is owner and outcome.error is None:
        outcome = outcome._replace(value=None)
    return outcome, fault, owner


def judged(one: Fuzzed) -> tuple[verdicts.Outcome, str]:
    """Make a call, and return what it did and what is wrong with that, if anything is.

    Parameters
    ----------
    one : Fuzzed
        The call.
    """
    changed = {name: each.value for name, each in one.arguments.items()}
    outcome, fault, _ = _watched(one.call, changed, one.parameters)
    faults = [verdicts.fault_of_warning(each, outcome.error) for each in outcome.warnings]
    faults.append(fault)
    if outcome.seconds > _SLOW_SECONDS:
        faults.append("slow")
    if outcome.error is not None:
        faults.append(verdicts.fault_of_error(outcome.error))
    elif not one.call.holes:
        faults.append(verdicts.fault_of_value(outcome.value))
    is_plain = one.arguments and all(each.plain is not None for each in one.arguments.values())
    if outcome.error is None and is_plain:
        plain = {name: each.plain for name, each in one.arguments.items()}
        expected, _, _ = _watched(one.call, plain, one.parameters)
        if expected.error is not None:
            faults.append("taken, although the plain array is refused")
        else:
            faults.append(verdicts.fault_of_difference(outcome.value, expected.value))
    return outcome, "; ".join(sorted({fault for fault in faults if fault}))


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="calls to repeat, by their numbers")


def run(arguments):
    """Make the calls, print what is wrong, and write how many did what."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, limits[1]))
    try:
        _run(arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _run(arguments):
    counts: dict[str, Counter] = {}
    kinds: Counter = Counter()
    for i in arguments.only or range(arguments.calls):
        one = fuzzed(arguments.seed, i)
        outcome, fault = judged(one)
        of_call = counts.setdefault(one.call.name, Counter())
        did = "returned" if outcome.error is None else _kind_of_error(outcome.error)
        of_call.update(["calls", did, *(["warned"] if outcome.warnings else [])])
        of_call["longest"] = max(of_call["longest"], outcome.seconds)
        if fault:
            of_call["faults"] += 1
            kinds[fault] += 1
        if fault or arguments.only:
            print(f"--seed {arguments.seed} --only {i}: {fault or 'no fault'}\n    {one}")
            if outcome.error is not None:
                print(f"    {type(outcome.error).__name__}: {str(outcome.error)[:300]!r}")
            sys.stdout.flush()
    print(
        f"\n{sum(each['calls'] for each in counts.values())} calls, {sum(kinds.values())} faults"
    )
    for fault, n in kinds.most_common():
        print(f"{n:6d} {fault}")
    if not arguments.only:
        write_csv(arguments.results / "reliability_calls.csv", _rows(counts))


def _kind_of_error(error):
    """Return the first of the promised kinds that an error is of."""
    kinds = (kind for kind in _ERRORS if isinstance(error, kind))
    return next((kind.__name__ for kind in kinds), "others")


def _rows(counts):
    """Return one row for each entry point."""
    names = ["calls", "returned", *(kind.__name__ for kind in _ERRORS), "others", "warned"]
    return [
        {"entry_point": name}
        | {each: did[each] for each in [*names, "faults"]}
        | {"longest_seconds": f"{did['longest']:.2f}"}
        for name, did in sorted(counts.items())
    ]
