"""Flows whose columns and dense layers are divided among processes, by gloo on this machine."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from skflow.distributed import row_split
from skflow.distributed.columns import Columns
from skflow.distributed.split_traffic import received_per_split_step
from skflow.flow.blocks import all_finite
from skflow.flow.initialization import low_rank_whitening, random_orthogonal, shrunk_whitening

SCRIPT = Path(__file__).parent / "split_rank.py"

spec = importlib.util.spec_from_file_location("split_rank", SCRIPT)
rank = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rank)

EXACT = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(scope="module")
def alone():
    """What one process fits by itself."""
    return rank.all_fits()


@pytest.fixture(scope="module")
def folder(left_by):
    """Where two and four processes left what they did."""
    return left_by(SCRIPT)


@pytest.fixture(scope="module")
def two(folder):
    return [torch.load(folder / f"{k}_of_2.pt", weights_only=False) for k in range(2)]


@pytest.fixture(scope="module")
def four(folder):
    return [torch.load(folder / f"{k}_of_4.pt", weights_only=False) for k in range(4)]


@pytest.mark.parametrize("case", rank.CASES, ids=str)
def test_a_fit_by_two_and_four_processes_is_that_of_one(alone, two, four, case):
    expected = alone[case]
    assert expected["dense"].size >= 2 * rank.D**2
    for results in (*two, *(four if case in four[0]["fits"] else ())):
        found = results["fits"][case]
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, **EXACT, err_msg=name)
    for results, first in ((two[1], two[0]), (four[3], four[0])):
        if case in first["fits"]:
            np.testing.assert_array_equal(
                results["fits"][case]["scores"], first["fits"][case]["scores"]
            )


def test_gradients_are_those_of_automatic_differentiation_and_determinants(two, four):
    for results in (*two, *four):
        assert max(results["oracle"]) < 1e-10


def test_the_log_determinant_is_tracked(two, four):
    for results in (*two, *four):
        for dtype, most in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
            tracked, exact = results["tracked"][dtype]
            assert abs(tracked - exact) < most
            assert abs(exact) > 1


def test_factors_of_a_split_matrix_are_exact(two, four):
    for results in (*two, *four):
        assert max(map(abs, results["factors"])) < 1e-10


def test_inverses_say_what_they_miss(two, four):
    for results in (*two, *four):
        for condition, most in ((10, 1e-12), (1e2, 1e-11), (1e6, 1e-7)):
            residual, error, log_det_error = results["inverses"][condition]
            assert residual < 1e-13
            assert error < most
            assert log_det_error < 1e-9
        assert "close to singular" in results["inverses"]["singular"]


def test_a_step_receives_the_bytes_of_the_formula(two, four):
    for n_ranks, groups in ((2, two), (4, four)):
        expected = [
            received_per_split_step(
                12, rank.D, n_layers=2, n_ranks=n_ranks, is_first=is_first, itemsize=8
            )
            for is_first in (False, True)
        ]
        for results in groups:
            assert results["received"] == expected


def test_a_fitted_flow_works_within(two):
    found, other = (results["uses"] for results in two)
    np.testing.assert_array_equal(found["sample"], found["again"])
    for name in ("sample", "unseeded", "scores"):
        np.testing.assert_array_equal(found[name], other[name])
    for name in ("copied", "pickled", "saved"):
        np.testing.assert_allclose(found[name], found["scores"], rtol=1e-12)
    assert found["score"] == pytest.approx(found["scores"].mean())
    assert found["back"] < 1e-8
    assert found["round trip"] == other["round trip"] < 1e-8


def test_samples_have_the_moments_of_the_rows(two):
    X, weights = rank.data(64)
    sample = two[0]["uses"]["sample"]
    mean = np.average(X, axis=0, weights=weights)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    off = (np.median(sample, 0) - mean) / deviation
    assert np.abs(off).max() < 1
    # The columns of different processes are drawn independently of each other.
    correlations = np.corrcoef(sample.T)
    assert np.abs(correlations - np.eye(rank.D)).max() < 0.95


def test_outside_it_is_told_what_is_missing(two):
    for k, results in enumerate(two):
        assert f"part {k} of a model that was divided among 2 processes" in results["outside"]
        assert "there is none" in results["outside"]


def test_what_cannot_be_divided_is_refused(two):
    for results in two:
        refused = results["refused"]
        assert "cannot divide AffineCoupling" in refused["coupling"]
        assert "cannot divide NormalMixture" in refused["base"]
        assert "use data_parallel" in refused["batch"]
        assert "there is no checkpoint_path='nowhere'" in refused["checkpoint"]
        assert "there is no warm_start=True" in refused["warm"]
        assert "there is no partial_fit" in refused["partial_fit"]
        assert "1 column(s) cannot be divided among 2 processes" in refused["columns"]


def test_odd_rows_and_clocks_are_the_same_for_all(two):
    found, other = (results["odd rows"] for results in two)
    assert np.isfinite(found["scores"]).all()
    np.testing.assert_array_equal(found["far"], other["far"])
    assert found["far"][0] == -np.inf
    assert np.isfinite(found["far"][1:]).all()
    assert found["timed"] == other["timed"]
    # The last column is constant, which the process that has it says.
    assert not any("Constant" in message for message in found["warnings"])
    assert any(f"column {rank.D - 1}" in message for message in other["warnings"])


def test_a_step_that_is_not_finite_on_one_process_is_taken_on_none(two):
    for results in two:
        assert results["not finite"] == [(True, True), (False, False)]


def test_columns_are_next_to_each_other():
    for n_features, n_ranks in ((7, 3), (8, 4), (5, 5)):
        parts = [Columns(n_features, k, n_ranks) for k in range(n_ranks)]
        columns = [j for part in parts for j in range(n_features)[part.own]]
        assert columns == list(range(n_features))
        assert max(part.n_own for part in parts) == parts[0].most
        assert parts[0].most - min(part.n_own for part in parts) <= 1


def test_a_process_that_is_alone_fits_as_outside():
    with row_split() as found:
        assert found == 0
        (within, _), (outside, _) = (rank.of_fit(*rank.CASES[1]) for _ in range(2))
    np.testing.assert_array_equal(within["dense"], outside["dense"])


@pytest.mark.parametrize("most_factored", [0, 100])
def test_rows_of_an_orthogonal_matrix_are_made_by_themselves(most_factored):
    def drawn(**options):
        generator = torch.Generator().manual_seed(0)
        return random_orthogonal(9, generator, most_factored=most_factored, **options)

    whole, out = drawn(), torch.empty(3, 9, dtype=torch.float64)
    torch.testing.assert_close(whole @ whole.mT, torch.eye(9, dtype=torch.float64))
    assert torch.equal(drawn(rows=slice(2, 5)), whole[2:5])
    assert drawn(rows=slice(2, 5), out=out) is out
    assert torch.equal(out, whole[2:5])


@pytest.mark.parametrize("weighted", [False, True])
def test_a_whitening_of_some_columns_is_a_part_of_that_of_all(generator, weighted):
    x = torch.randn(6, 10, generator=generator, dtype=torch.float64)
    weights = torch.rand(6, generator=generator).double() + 0.5 if weighted else None
    expected, expected_log_det = shrunk_whitening(x, weights)
    # Fewer columns than rows, of more columns in all.
    parts = (x[:, :4], x[:, 4:])
    moments = []
    for part in parts:
        low_rank_whitening(part, weights, n_features=10, summed=lambda m: moments.append(m) or m)
    total = sum(moments)
    bases = []
    for part in parts:
        one = low_rank_whitening(part, weights, n_features=10, summed=lambda _: total)
        bases.append(one.basis)
    basis = torch.cat(bases)
    whitening = one.diagonal * torch.eye(10, dtype=torch.float64) - basis @ basis.mT
    torch.testing.assert_close(whitening, expected)
    torch.testing.assert_close(one.log_det, expected_log_det)


def test_finiteness_is_told_block_by_block():
    x = torch.zeros(5, 3)
    assert all_finite(x, block_entries=4)
    x[4, 2] = torch.inf
    assert not all_finite(x, block_entries=4)
