"""Fits that have no room say what would: they name the sizes, and the batch that would fit."""

import re
import subprocess
import sys

import numpy as np
import pytest

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.flow import Coupling, LinearStack, SmoothLeakyReLU
from skflow.training.room import is_out_of_memory

NO_ROOM = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 8000000 bytes. Error code 12 (Cannot allocate memory)"
)


class Hungry(SmoothLeakyReLU):
    """Has room for steps of so many rows."""

    most = 0

    def forward_and_pullback(self, x, *, input_gradient=True):
        if len(x) > self.most:
            raise RuntimeError(NO_ROOM)
        return super().forward_and_pullback(x, input_gradient=input_gradient)


def hungry(n_rows, n_features, **_):
    return [LinearStack(1, n_features), Hungry(), LinearStack(1, n_features)]


@pytest.fixture
def flow():
    return RelativeGradientFlow(bijections=hungry, batch_size=40, max_iter=1, random_state=0)


@pytest.fixture
def X(rng):
    return rng.normal(size=(100, 3))


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize(("most", "advice"), [(39, 20), (12, 10), (1, 1)])
def test_the_batch_that_fits_is_named(X, flow, monkeypatch, early_stopping, most, advice):
    monkeypatch.setattr(Hungry, "most", most)
    flow.set_params(early_stopping=early_stopping)
    before = dict(vars(flow))
    n_rows = 90 if early_stopping else 100
    message = (
        f"fit {n_rows} rows of 3 columns in batches of 40, where 8000000 bytes more were asked "
        f"for. There is room for steps of {advice} rows: set batch_size={max(1, advice // 2)}."
    )
    with pytest.raises(MemoryError, match=re.escape(message)) as caught:
        flow.fit(X)
    assert "can't allocate memory" in str(caught.value.__cause__)
    assert vars(flow) == before
    assert np.isfinite(flow.set_params(batch_size=advice).fit(X).score(X))


def test_it_is_said_if_no_batch_fits(X, flow):
    with pytest.raises(MemoryError, match="No batch_size would help, as there is no room"):
        flow.fit(X)


def test_it_is_said_if_the_batch_does_not_matter(X, flow, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(Hungry, "most", 1000)
    monkeypatch.setattr("skflow.training.steps.Steps.end_epoch", fail)
    monkeypatch.setattr("skflow.training.room._rehearse", lambda *_: None)
    with pytest.raises(MemoryError, match=r"20.00 GiB more were .* batch_size would not help"):
        flow.fit(X)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_fits_of_several_flows_name_the_batch_too(X, monkeypatch, n_targets):
    couple = "skflow.flow.couplings.Coupling.forward_and_pullback"
    original = Coupling.forward_and_pullback

    def fail(self, x, **options):
        if len(x) > 7:
            raise MemoryError("Unable to allocate")
        return original(self, x, **options)

    monkeypatch.setattr(couple, fail)
    monkeypatch.setattr("skflow.flow.compiled._PRECISIONS", frozenset())  # no kernels
    flow = ConditionalFlow(n_trees=0, batch_size=20, max_iter=1, random_state=0)
    with pytest.raises(MemoryError, match=r"in batches of 20, .* room for steps of 5 rows"):
        flow.fit(X, X[:, :n_targets] + 1)


def test_other_errors_pass(X, flow, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("something else")

    monkeypatch.setattr("skflow.training.steps.Steps.take", fail)
    with pytest.raises(RuntimeError, match="something else"):
        flow.fit(X)
    assert not is_out_of_memory(ValueError("out of memory"))


SCRIPT = """
import re
import resource
import numpy as np
from skflow import RelativeGradientFlow

X = np.random.default_rng(0).normal(size=(200_000, 40)).astype(np.float32)
flow = RelativeGradientFlow(2, activation="leaky_tanh", max_iter=1, batch_size=100).fit(X)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 150 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
size = 180_000
while True:  # as memory is in pieces, a fit that has less of it may find less room still
    try:
        print("fitted by", flow.set_params(batch_size=size).fit(X).batch_size_)
        break
    except MemoryError as error:
        print(error)
        smaller = int(re.search("set batch_size=([0-9]+)", str(error))[1])
        assert smaller < size
        size = smaller
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_a_process_that_runs_out_of_memory_says_what_fits():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = r"fit 180000 rows of 40 columns in batches of 180000, where \d+ bytes more"
    assert re.search(sizes, done.stdout)
    assert "fitted by" in done.stdout
