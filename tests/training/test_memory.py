import os
import platform
from pathlib import Path

import pytest
import torch

from skflow.flow import Flow, LeakyTanh, LinearStack, Normal
from skflow.training import memory, steps
from skflow.training.batches import Batches
from skflow.training.fits import Stopping, Training, TrainingFit, run
from skflow.training.memory import return_freed_memory
from skflow.training.optimizers import RelativeSGD
from skflow.training.rows import Rows


def resident():
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is that C library's memory")
def test_freed_arrays_do_not_stay_resident():
    torch.ones(2**22)  # arrays as large as that are not mapped one by one from now on
    start = resident()
    arrays = [torch.ones(2**20) for _ in range(20)]  # 4 MiB each
    assert resident() - start > 60 * 2**20
    arrays = arrays[-1:]  # which lies above the others
    return_freed_memory()
    assert resident() - start < 30 * 2**20


def test_other_systems_have_nothing_to_return(monkeypatch):
    memory._functions.cache_clear()
    monkeypatch.setattr(memory.sys, "platform", "win32")
    return_freed_memory()
    assert memory._functions() == []
    memory._functions.cache_clear()


@pytest.mark.parametrize(("many", "calls"), [(1, 1 + 2 * 10), (10**6, 1)])
def test_large_flows_return_it_in_each_step(generator, monkeypatch, many, calls):
    counted = []
    monkeypatch.setattr(steps, "_MANY_PARAMETERS", many)
    for module in ("steps", "fits"):
        monkeypatch.setattr(
            f"skflow.training.{module}.return_freed_memory", lambda: counted.append(1)
        )
    x = torch.randn(100, 3, generator=generator)
    flow = Flow([LinearStack(2, 3, activation=LeakyTanh())], Normal(), n_features=3)
    flow.initialize(x, generator)
    batches = Batches(Rows(x), 50, generator)
    training = Training(flow, batches, RelativeSGD(flow), rate=0.01)
    run(TrainingFit(training, Stopping(max_iter=5)))
    assert len(counted) == calls
