"""Fits that several processes do together, by gloo on this machine."""

import importlib.util
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from skflow.distributed import data_parallel
from skflow.distributed.traffic import (
    n_factors,
    received_by_gather,
    received_by_reduction,
    received_per_step,
    rows_of_part,
)
from skflow.exceptions import RankError
from skflow.flow import BlockDiagonal, Flow, LinearStack, StudentT
from skflow.flow.relative import heard
from skflow.training.batches import Batches
from skflow.training.exchange import current_exchange
from skflow.training.parts import PartsOfBatches, part
from skflow.training.rows import Rows

SCRIPT = Path(__file__).parent / "rank.py"

spec = importlib.util.spec_from_file_location("rank", SCRIPT)
rank = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rank)

EXACT = {"rtol": 0, "atol": 1e-10}

CASES = [(kind, optimizer) for kind in rank.SIZES for optimizer in ("sgd", "relative", "adam")]


@pytest.fixture(scope="module")
def alone():
    """What one process does by itself."""
    return {"steps": rank.all_steps(), "fits": rank.all_fits()}


@pytest.fixture(scope="module")
def folder(left_by):
    """Where groups of two and of four processes left what they did."""
    return left_by(SCRIPT)


@pytest.fixture(scope="module")
def two(folder):
    """What the first of two processes did. The other one was killed in the end."""
    return torch.load(folder / "0_of_2.pt", weights_only=False)


@pytest.fixture(scope="module")
def four(folder):
    """What each of four processes did."""
    return [torch.load(folder / f"{k}_of_4.pt", weights_only=False) for k in range(4)]


def assert_alike(found, expected, **tolerances):
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], **tolerances, err_msg=name)


def assert_same(found, expected):
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("kind", "optimizer"), CASES)
def test_steps_of_two_and_four_processes_are_those_of_one(
    alone, two, four, kind, optimizer, weighted
):
    key = kind, optimizer, weighted
    expected, n_received = alone["steps"][key]
    assert n_received == 0
    for results in (two, *four):
        assert_alike(results["steps"][key][0], expected, **EXACT)
    for results in four[1:]:
        assert_same(results["steps"][key][0], four[0]["steps"][key][0])


def test_fits_of_four_processes_are_those_of_one(alone, four):
    assert set(alone["fits"]) == set(four[0]["fits"])
    for key, expected in alone["fits"].items():
        assert_alike(four[0]["fits"][key], expected, **EXACT)
        for results in four[1:]:
            assert_same(results["fits"][key], four[0]["fits"][key])


@pytest.mark.parametrize(("kind", "optimizer"), CASES)
def test_a_step_receives_the_bytes_of_the_formula(two, four, kind, optimizer):
    n_rows, d = rank.SIZES[kind]
    flow = Flow(rank.bijections(d), StudentT(), n_features=d)
    flow.initialize(torch.randn(20, d), torch.Generator())
    dense = {id(p) for layer in flow.relative_layers for p in layer.parameters()}
    n_others = sum(p.numel() for p in flow.parameters() if id(p) not in dense)
    for n_ranks, results in ((2, two), (4, four[0])):
        options = {"n_ranks": n_ranks, "itemsize": 8}
        expected = received_per_step(n_rows, d, n_layers=3, n_others=n_others, **options)
        # The layer of two blocks, beside the one of one matrix and that of two.
        nothing = received_per_step(n_rows, d, n_layers=0, n_others=0, **options)
        blocks = received_per_step(n_rows, d // 2, n_layers=2, n_others=0, **options)
        assert results["steps"][kind, optimizer, False][1] == expected + blocks - nothing


@pytest.mark.parametrize("n_ranks", [2, 3, 8])
@pytest.mark.parametrize("n_features", [10, 64, 1000])
def test_what_is_exchanged_is_the_least(n_features, n_ranks):
    for n_rows in range(n_ranks, 2 * n_features):
        each = rows_of_part(n_rows, n_ranks) * n_features
        two, three = (received_by_gather(k * each, n_ranks) for k in (2, 3))
        sums = received_by_reduction(n_features * (n_features + 1), n_ranks)
        chosen = n_factors(n_rows, n_features)
        if n_rows % n_ranks == 0 and n_rows != n_features:  # no rows fill up the parts
            assert (chosen > 0) == (two < sums)
            assert (chosen == 3) == (three < sums)


def test_sums_are_more_than_factors_by_the_ratio_of_columns_and_rows():
    n_each, n_ranks, d = 8, 4, 4096
    sums = received_by_reduction(d * d, n_ranks)
    assert sums / received_by_gather(2 * n_each * d, n_ranks) == d / (n_each * n_ranks)


def test_processes_agree_on_seeds_clocks_ctrl_c_and_callbacks(two):
    expected = rank.of_fit("activations", random_state=np.random.RandomState(5))
    assert_alike(two["decisions"]["unseeded"], expected, **EXACT)
    assert len(two["decisions"]["timed"]["losses"]) < 10**6
    assert len(two["decisions"]["stopped"]["losses"]) < 10**6
    assert two["decisions"]["warnings"] == {"ConvergenceWarning"}
    assert len(two["decisions"]["ended"]["losses"]) == 3 + 1  # and the log-determinant


def test_what_processes_cannot_fit_together_is_refused(two):
    of_other_rows, of_small_batch = two["refused"]
    assert "rows (a sum)" in of_other_rows
    assert "on rank 1" in of_other_rows
    assert "cannot be divided among 2 processes" in of_small_batch


def test_a_killed_rank_is_named_and_the_fit_goes_on_with_one_rank_fewer(two, folder):
    ends = torch.load(folder / "ends.pt", weights_only=False)
    (code, died), (other_code, ended) = ends[2, 1], ends[2, 0]
    assert (code, other_code) == (-signal.SIGKILL, 0)
    assert ended - died < 30
    assert two["killed"]["ranks"] == (1,)
    assert "Rank 1 stopped" in two["killed"]["message"]
    assert "again" not in two
    path = folder / "checkpoint"
    assert path.exists()
    resumed = rank.of_fit("splines", max_iter=6, checkpoint_path=path)
    assert_alike(resumed, rank.of_fit("splines", max_iter=6), **EXACT)
    assert not path.exists()


def test_outside_of_data_parallel_each_process_fits_alone(two, four):
    for k, results in enumerate((two, *four[1:])):
        assert_same(results["alone"], rank.of_fit("activations", random_state=k))


def test_a_group_of_some_processes_fits_by_itself(four):
    for k, results in enumerate(four):
        found, number = results["halves"]
        assert number == k % 2
        assert_alike(found, rank.of_fit("activations", random_state=k // 2), **EXACT)


def test_without_a_launcher_a_process_fits_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with data_parallel():
        assert current_exchange().n_ranks == 1


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
def test_parts_are_all_rows_with_the_noise_of_the_whole(n_ranks, generator):
    x = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    weights = torch.rand(30, generator=generator, dtype=torch.float64)
    noise = torch.tensor([0.5, 0.0, 0.1, 1.0], dtype=torch.float64)

    def batches():
        again = torch.Generator().manual_seed(1)
        return Batches(Rows(x, weights=weights), 10, again, noise=noise, weight_unit=2.0)

    parts = [list(PartsOfBatches(batches(), k, n_ranks)) for k in range(n_ranks)]
    for whole, *of_ranks in zip(batches(), *parts, strict=True):
        torch.testing.assert_close(torch.cat([one.x for one in of_ranks]), whole.x)
        total = sum(one.weights.mean() for one in of_ranks)
        torch.testing.assert_close(total, whole.weights.mean())
        assert all(one.mass == whole.mass and one.n_rows == 10 for one in of_ranks)
    assert part(3, 2, 7) == slice(0, 3)


def test_more_processes_than_rows_are_refused(generator):
    batches = Batches(Rows(torch.zeros(5, 2)), 3, generator)
    with pytest.raises(ValueError, match="batch_size=4 or more"):
        PartsOfBatches(batches, 0, 4)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize(
    "layer", [LinearStack(2, 6), BlockDiagonal(6, 2)], ids=["dense", "blocks"]
)
def test_a_listener_takes_the_factors_with_the_product_that_it_wants(layer, wanted, generator):
    heard_of = []

    class Listener:
        def wants_product(self, layer):
            return wanted

        def take(self, layer, factors):
            heard_of.append((layer, factors.y_weight is not None))

    x = torch.randn(7, 6, generator=generator)
    with heard([layer], Listener()):
        _, _, pullback = layer.forward_and_pullback(x)
        pullback(torch.ones(7, 6), torch.ones(7))
    assert heard_of == [(layer, wanted)]
    assert not layer.wants_product(7)


def test_the_error_names_ranks():
    assert str(RankError([3], "why")).startswith("Rank 3 stopped (why)")
    assert str(RankError([0, 2], "why")).startswith("Rank 0 and rank 2 stopped")
    assert str(RankError([], "why")).startswith("Some process stopped")
