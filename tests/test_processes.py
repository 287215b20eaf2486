"""Fitted estimators in threads, and in processes that are forked or spawned after a fit."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from skflow import RelativeGradientFlow

pytestmark = pytest.mark.usefixtures("quick_mixtures")

# In a file of its own, as spawned processes import it. Two threads fit and score 4,000 rows.
SCRIPT = """
import multiprocessing
import sys
import threading

import numpy as np
import torch

from skflow import RelativeGradientFlow

X = np.random.default_rng(0).normal(size=(4000, 40)).astype(np.float32)


def used(flow, n_rows):
    scores = flow.score_samples(X[:n_rows])
    flow.sample(2, random_state=0)
    threads = [threading.Thread(target=flow.score_samples, args=(X,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = RelativeGradientFlow(**flow.get_params()).fit(X)
    return torch.get_num_threads(), scores, again.score_samples(X[:n_rows])


if __name__ == "__main__":
    torch.set_num_threads(2)
    options = {"activation": "leaky_tanh", "batch_size": 2000, "early_stopping": False}
    flow = RelativeGradientFlow(2, max_iter=1, random_state=0, **options).fit(X)
    expected = flow.score_samples(X)
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        for n_threads, scores, again in pool.starmap(used, [(flow, 3), (flow, 4000)]):
            for found in (scores, again):
                np.testing.assert_allclose(found, expected[: len(found)], atol=1e-3)
            print("threads", n_threads)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_score_and_fit_after_a_fit_by_two_threads(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, str(script), method],
        env=environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if method == "fork":
        assert done.stdout.split() == ["threads", "1"] * 2


def test_threads_have_the_bits_of_one_thread_while_another_one_fits():
    X = np.random.default_rng(0).gamma(2.0, size=(150, 3))
    flow = RelativeGradientFlow(n_layers=2, max_iter=2, early_stopping=False, random_state=0)
    calls = [
        lambda: flow.score_samples(X),
        lambda: flow.score_samples(X[:1]),
        lambda: flow.score_samples(X.astype(np.float32)),
        lambda: flow.sample(5, random_state=0),
        lambda: flow.inverse_transform(flow.transform(X[:7])),
    ]
    flow.fit(X)
    expected = [call().tobytes() for call in calls]
    done = threading.Event()

    def ask(first):
        return sum(
            calls[k % len(calls)]().tobytes() != expected[k % len(calls)]
            for k in range(first, first + 100)
        )

    def fit_anew():
        n_fits = 0
        while not done.is_set():
            flow.fit(X)
            n_fits += 1
        return n_fits

    with ThreadPoolExecutor(9) as pool:
        n_fits = pool.submit(fit_anew)
        wrong = list(pool.map(ask, range(8)))
        done.set()
    assert wrong == [0] * 8
    assert n_fits.result() > 0
