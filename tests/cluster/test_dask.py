"""Searches on a cluster of Dask's, with processes of this machine."""

import os
from functools import partial

import pytest
import torch
from joblib import Parallel, delayed, parallel_config

distributed = pytest.importorskip("distributed", reason="Dask's distributed is not installed")


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", resources={"GPU": 1}
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def sent(client, monkeypatch):
    """The arrays that are sent for tasks. Each is then on all workers, and stays there."""
    sent = []
    scatter = partial(client.scatter, broadcast=True)

    def listed(data, **options):
        sent.append(data)
        return scatter(data, **options)

    monkeypatch.setattr(client, "scatter", listed)
    client.amm.stop()
    yield sent
    client.amm.start()


def test_a_search_is_that_of_one_process_and_sends_the_rows_once(
    client, sent, search, X, assert_as_in_one_process
):
    with parallel_config("dask"):
        assert_as_in_one_process(search().fit(X))
    assert sum(data is X for data in sent) == 1
    assert sum(data.nbytes for data in sent) < 2 * X.nbytes  # the rest are the folds


def test_a_search_outlives_the_worker_that_the_rows_were_sent_to_first(
    client, sent, search, mortal, X, assert_as_in_one_process
):
    flow = mortal(lambda: distributed.get_worker().name == 0)
    with parallel_config("dask"):
        assert_as_in_one_process(search(flow).fit(X))
    assert not mortal.alive.exists()


def test_own_estimators(client, assert_own_estimators_as_in_one_process):
    with parallel_config("dask"):
        assert_own_estimators_as_in_one_process()


def test_a_worker_has_one_thread_and_a_job_asks_for_a_gpu(client):
    client.wait_for_workers(2)
    with parallel_config("dask", resources={"GPU": 1}):
        calls = [delayed(torch.get_num_threads)(), delayed(os.getenv)("OMP_NUM_THREADS")]
        assert Parallel(n_jobs=2)(calls) == [1, "1"]
