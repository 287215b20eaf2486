"""Searches on a cluster of Ray's, with processes of this machine. `tox run -e cluster` has it."""

import os
import time

import pytest
import torch
from joblib import Parallel, delayed, parallel_config

ray = pytest.importorskip("ray", reason="Ray is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own; a fit of `mortal` raises its own

RETRIES = {"max_restarts": 3, "max_task_retries": 3}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    from ray.util.joblib import register_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # So many by name: Ray counts them, and looks for none.
        ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield
        ray.shutdown()


def test_a_search_is_that_of_one_process(search, X, assert_as_in_one_process):
    with parallel_config("ray"):
        assert_as_in_one_process(search().fit(X))


def test_a_search_outlives_a_worker(search, mortal, X, assert_as_in_one_process):
    with parallel_config("ray", ray_remote_args=RETRIES):
        assert_as_in_one_process(search(mortal(lambda: True)).fit(X))
    assert not mortal.alive.exists()


def test_own_estimators(assert_own_estimators_as_in_one_process):
    with parallel_config("ray"):
        assert_own_estimators_as_in_one_process()


def threads_and_gpu():
    time.sleep(1)  # so that one worker does not take both calls
    return torch.get_num_threads(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_worker_has_one_thread_and_a_gpu_of_its_own():
    with parallel_config("ray", ray_remote_args={"num_gpus": 1}):
        found = Parallel(n_jobs=2)(delayed(threads_and_gpu)() for _ in range(2))
    assert sorted(found) == [(1, "0"), (1, "1")]
