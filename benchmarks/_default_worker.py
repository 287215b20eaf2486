"""Answers questions about the speed of the package that is installed, a line of JSON each."""

import json
import sys
import time
import warnings

import numpy as np
import torch
from _timing import time_calls, time_thread
from torch.profiler import ProfilerActivity, profile

from skflow import RelativeGradientFlow
from skflow.training.architecture import build_flow
from skflow.training.optimizers import NormalizedRelativeSGD

N_ROWS, N_STEPS, N_TURNS = 256, 20, 5


def sample(n_rows, n_features):
    """Return skewed rows whose columns depend on one another."""
    rng = np.random.default_rng(0)
    return rng.gamma(2.0, size=(n_rows, n_features)) @ rng.normal(size=(n_features, n_features))


def default_step(n_features):
    """Return a function that takes a step of the default flow of 5,000 rows, on 256 of them."""
    flow = build_flow(RelativeGradientFlow().get_params(), 5000, n_features)
    X = sample(5000, n_features)
    x = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
    flow.initialize(x, torch.Generator().manual_seed(0))
    optimizer = NormalizedRelativeSGD(flow)
    batch = x[:N_ROWS].clone()

    def step():
        flow.relative_gradient(batch)
        if not optimizer.step(0.01):
            raise RuntimeError("A step was not finite, and its time means nothing.")

    return step


def step(n_features):
    """Return the processor time of a step in milliseconds, and its calls of operators."""
    take = default_step(n_features)
    for _ in range(N_STEPS):
        take()
    milliseconds = time_thread(take, N_STEPS, N_TURNS)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        take()
    calls = sum(event.count for event in profiler.key_averages())
    return {"milliseconds": milliseconds, "calls": calls}


def fit(path, seed, **parameters):
    """Return the seconds of a default fit, and its mean log-likelihood of held-out rows."""
    with np.load(path) as file:
        train, test = file["train"], file["test"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = RelativeGradientFlow(random_state=seed, **parameters)
        started, worked = time.perf_counter(), time.process_time()
        model.fit(train)
        seconds, processor = time.perf_counter() - started, time.process_time() - worked
    return {"seconds": seconds, "processor": processor, "nats": float(model.score(test))}


def rates(n_features, dtype):
    """Return how many rows a second each method takes, or makes."""
    model = RelativeGradientFlow(random_state=0, max_iter=1)
    model.fit(sample(5000, n_features).astype(dtype))
    X = sample(max(2000, 2**18 // n_features), n_features).astype(dtype)
    calls = {
        "score_samples": lambda: model.score_samples(X),
        "sample": lambda: model.sample(len(X)),
        "transform": lambda: model.transform(X),
        "inverse_transform": lambda: model.inverse_transform(X),
    }
    found = {}
    for name, call in calls.items():
        call()
        found[name] = len(X) / float(np.median([time_calls(call) for _ in range(N_TURNS)]))
    return found


QUESTIONS = {"step": step, "fit": fit, "rates": rates}

if __name__ == "__main__":
    # What is compiled or loaded at first use is no part of what is measured.
    RelativeGradientFlow(max_iter=1).fit(sample(1200, 3)).score_samples(sample(10, 3))
    for line in sys.stdin:
        question = json.loads(line)
        answer = QUESTIONS[question.pop("kind")](**question)
        print(json.dumps(answer), flush=True)
