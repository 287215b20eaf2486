import os
import platform
from pathlib import Path

import pytest
import torch

from skflow.flow import Flow, LeakyTanh, LinearStack, Normal
from skflow.training.batches import Batches
from skflow.training.fits import Stopping, Training, TrainingFit, run
from skflow.training.memory import freeing_functions, return_freed_memory
from skflow.training.optimizers import RelativeSGD
from skflow.training.rows import Rows
from skflow.training.steps import Steps


def resident():
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is that C library's memory")
def test_freed_arrays_do_not_stay_resident():
    torch.ones(2**22)  # arrays as large as that are not mapped one by one from now on
    return_freed_memory()  # what tests before this one have left
    start = resident()
    arrays = [torch.ones(2**20) for _ in range(20)]  # 4 MiB each
    assert resident() - start > 60 * 2**20
    arrays = arrays[-1:]  # which lies above the others
    return_freed_memory()
    assert resident() - start < 30 * 2**20


def test_other_systems_have_nothing_to_return():
    assert freeing_functions("win32") == []
    assert freeing_functions("darwin") == []


@pytest.mark.parametrize(("many_parameters", "calls"), [(1, 2 * 10), (10**6, 0)])
def test_large_flows_return_it_in_each_step(generator, monkeypatch, many_parameters, calls):
    counted = []
    monkeypatch.setattr("skflow.training.steps.return_freed_memory", lambda: counted.append(1))
    x = torch.randn(100, 3, generator=generator)
    flow = Flow([LinearStack(2, 3, activation=LeakyTanh())], Normal(), n_features=3)
    flow.initialize(x, generator)
    steps = Steps(
        flow, RelativeSGD(flow), rate=0.01, others_rate=0.0, many_parameters=many_parameters
    )
    for batch in Batches(Rows(x), 10, generator):
        steps.begin_epoch()
        steps.take(batch, 1.0)
    assert len(counted) == calls


def test_a_fit_returns_what_its_start_took(generator, monkeypatch):
    counted = []
    monkeypatch.setattr("skflow.training.fits.return_freed_memory", lambda: counted.append(1))
    flow = Flow([LinearStack(2, 3, activation=LeakyTanh())], Normal(), n_features=3)
    batches = Batches(Rows(torch.randn(100, 3, generator=generator)), 50, generator)
    run(TrainingFit(Training(flow, batches, RelativeSGD(flow), rate=0.01), Stopping(max_iter=5)))
    assert len(counted) == 1
