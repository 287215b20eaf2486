import platform
import subprocess
import sys

import pytest
import torch

from skflow.flow import Flow, LeakyTanh, LinearStack, Normal
from skflow.training.batches import Batches
from skflow.training.fits import Stopping, Training, TrainingFit, run
from skflow.training.memory import freeing_functions
from skflow.training.optimizers import RelativeSGD
from skflow.training.rows import Rows
from skflow.training.steps import Steps, _Scalars

# In a process of its own: what other tests have freed there may be used again without a page more.
FREED_ARRAYS = """
import os
from pathlib import Path
import torch
from skflow.training.memory import return_freed_memory

def resident():
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

torch.ones(2**22)  # arrays as large as that are not mapped one by one from now on
return_freed_memory()
start = resident()
arrays = [torch.ones(2**20) for _ in range(20)]  # 4 MiB each
taken = resident() - start
arrays = arrays[-1:]  # which lies above the others
return_freed_memory()
print(taken, resident() - start)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is that C library's memory")
def test_freed_arrays_do_not_stay_resident():
    command = [sys.executable, "-c", FREED_ARRAYS]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, left = map(int, result.stdout.split())
    assert taken > 60 * 2**20
    assert left < 30 * 2**20


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


def test_what_is_recorded_of_a_step_keeps_nothing_else_alive():
    record = _Scalars()
    for k in range(1000):
        record.append(torch.full((500,), float(k))[3])  # part of a larger tensor
    kept = [*record._stacked, *record._recent]
    assert sum(one.untyped_storage().nbytes() for one in kept) <= 4 * (1000 + 500 * 256)
    assert torch.equal(record.stacked(), torch.arange(1000.0))
