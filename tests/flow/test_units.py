"""Where compiled code is kept, and what happens without it."""

import os
import subprocess
import sys

import pytest
import torch

from skflow.flow import ElementwiseSpline

pytest.importorskip("numba")

SCRIPT = """
import sys
import torch
{first}
from skflow.flow import ElementwiseSpline
spline = ElementwiseSpline(2)
with torch.no_grad():
    spline.slopes.fill_(0.5)
    print(spline(torch.tensor([[0.5, 5.0]]))[0].tolist())
{last}
"""


def run(first="", last="", **environment):
    script = SCRIPT.format(first=first, last=last)
    command = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


def expected():
    spline = ElementwiseSpline(2)
    with torch.no_grad():
        spline.slopes.fill_(0.5)
        y, _ = spline.plain_forward_and_log_det(torch.tensor([[0.5, 5.0]]))
    return y[0]


def assert_is_expected(line):
    found = torch.tensor([float(number) for number in line.strip("[]").split(",")])
    torch.testing.assert_close(found, expected())


FIT = """
import warnings
import numpy as np
from skflow import RelativeGradientFlow
torch.set_num_threads(1)
warnings.simplefilter("ignore")
for n_rows, n_features in ((1000, 2), (300, 5)):
    X = np.random.default_rng(0).gamma(2.0, size=(n_rows, n_features))
    print(RelativeGradientFlow(max_iter=5, random_state=0).fit(X).score_samples(X).tobytes().hex())
"""


def test_the_next_process_compiles_nothing_and_rounds_alike(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    compiled = run(last=FIT, **environment)
    assert_is_expected(compiled[0])
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert kept
    # Type inference is the first thing that compiling takes.
    forbid = (
        "import numba.core.typed_passes as passes\n"
        "def fail(*args, **kwargs): raise RuntimeError('it compiles')\n"
        "passes.type_inference_stage = fail"
    )
    assert run(first=forbid, last=FIT, **environment) == compiled
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept


def test_kernels_need_no_room_on_disk(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert_is_expected(run(NUMBA_CACHE_DIR=str(file / "below"))[0])


def test_pytorch_does_all_without_numba():
    line, used = run(
        first="sys.modules['numba'] = None", last="print('skflow.flow.kernels' in sys.modules)"
    )
    assert_is_expected(line)
    assert used == "False"


def test_nothing_is_compiled_or_loaded_at_import():
    command = [sys.executable, "-c", "import sys, skflow; print('numba' in sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
