import math

import pytest
import torch

from skflow.flow import SmoothLeakyReLU, Standardize
from skflow.training.batches import Batches
from skflow.training.rows import Rows, noisy_columns


def all_rows(batches):
    return torch.cat([batch.x for batch in batches])


def test_an_epoch_sees_each_row_at_most_once_in_batches_of_equal_size(generator):
    batches = Batches(Rows(torch.arange(23.0)[:, None]), 5, generator)
    epoch = list(batches)
    assert len(epoch) == len(batches) == 4
    assert {batch.x.shape for batch in epoch} == {(5, 1)}
    assert len(torch.cat([batch.x for batch in epoch]).unique()) == 20


def test_rows_left_over_get_their_turn(generator):
    batches = Batches(Rows(torch.arange(23.0)[:, None]), 5, generator)
    seen = torch.cat([batch.x for _ in range(20) for batch in batches])
    assert len(seen.unique()) == 23


def test_few_rows_are_one_batch_in_their_order(generator):
    rows = torch.arange(3.0)[:, None]
    (batch,) = Batches(Rows(rows), 5, generator)
    assert torch.equal(batch.x, rows)


def test_order_is_that_of_the_generator():
    rows = torch.arange(100.0)[:, None]
    one, two = (Batches(Rows(rows), 10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a.x, b.x) for a, b in zip(one, two, strict=True))


def test_noise_has_the_covariance_of_the_data(generator):
    mixing = torch.tensor([[1.0, 0.0], [3.0, 0.1]], dtype=torch.float64)
    data = torch.randn(20_000, 2, generator=generator, dtype=torch.float64) @ mixing.T + 5
    plain, noisy = (
        all_rows(Batches(Rows(data), 500, torch.Generator().manual_seed(0), noise=noise))
        for noise in (None, torch.full((2,), 0.1))
    )
    # The first batch has the same rows in the same order; later ones follow other random numbers.
    noise = (noisy - plain)[:500]
    covariance = torch.cov(plain[:500].T)
    torch.testing.assert_close(torch.cov(noise.T), 0.01 * covariance, rtol=0.15, atol=0)
    torch.testing.assert_close(noise.mean(0), torch.zeros(2, dtype=torch.float64))


def test_noise_differs_between_epochs(generator):
    batches = Batches(Rows(torch.eye(50)), 50, generator, noise=torch.full((50,), 0.1))
    (one,), (two,) = batches, batches
    assert not torch.equal(one.x, two.x)


@pytest.mark.parametrize("n_columns", [7, 3000])  # the latter in parts
def test_noise_is_the_difference_of_two_other_rows(generator, n_columns):
    data = torch.randn(50, n_columns, generator=generator)
    kept = data.clone()
    noise = torch.linspace(0.1, 0.4, n_columns)
    (batch,) = Batches(Rows(data), 50, torch.Generator().manual_seed(0), noise=noise)
    shift = int(torch.randint(1, 49, (), generator=torch.Generator().manual_seed(0)))
    difference = data.roll(shift, 0) - data.roll(shift + 1, 0)
    torch.testing.assert_close(batch.x, data + noise / math.sqrt(2) * difference)
    assert torch.equal(data, kept)


def test_values_that_repeat_have_no_noise(generator):
    x = torch.randn(50, 3, generator=generator)
    x[:, 1] = x[:, 1].sign()
    assert torch.equal(noisy_columns(Rows(x)), torch.tensor([1.0, 0.0, 1.0]))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_one_or_two_rows_have_no_noise(generator, batch_size):
    data = torch.arange(10.0)[:, None]
    batches = Batches(Rows(data), batch_size, generator, noise=torch.ones(1))
    assert sorted(all_rows(batches).flatten().tolist()) == data.flatten().tolist()


@pytest.fixture
def rows(generator):
    data = 3 * torch.randn(50, 4, generator=generator, dtype=torch.float64) + 2
    data[:, 2] = 7.0
    draws = torch.randn(50, 1, generator=generator)
    return Rows(
        data,
        front=Standardize.from_rows(data),
        filling=(torch.tensor([2]), draws),
        dtype=torch.float32,
        which=torch.randperm(50, generator=generator),
    )


def test_rows_are_prepared_as_they_are_taken(rows):
    x = rows.take(torch.arange(50))
    assert x.dtype == torch.float32
    expected = (rows.data - rows.data.mean(0)) / rows.data.std(0, correction=0)
    expected[:, 2] = rows.filling[1][:, 0]
    torch.testing.assert_close(x, expected[rows.which].float())
    assert (rows.data[:, 2] == 7).all()


@pytest.mark.parametrize(("n_columns", "n_rows"), [(4, 20_000), (300, 600)])
def test_blocks_are_all_rows_in_their_order(generator, n_columns, n_rows):
    data = torch.randn(n_rows, n_columns, generator=generator)
    order = torch.randperm(n_rows, generator=generator)
    blocks = [x for x, _ in Rows(data, which=order).blocks()]
    assert len(blocks) == 3
    assert torch.equal(torch.cat(blocks), data[order])


@pytest.mark.parametrize("n_rows", [20, 30_000])  # the latter in parts
def test_log_determinants_of_what_is_done_to_rows_come_with_them(generator, n_rows):
    data = torch.randn(n_rows, 4, generator=generator, dtype=torch.float64)
    front = SmoothLeakyReLU()
    rows = Rows(data, front=front, dtype=torch.float32, which=torch.arange(n_rows).flip(0))
    x, log_det = rows.take_with_log_det(torch.arange(n_rows))
    expected_x, expected_log_det = front.forward_and_log_det(data.flip(0))
    assert torch.equal(x, expected_x.float())
    assert torch.equal(log_det, expected_log_det)
    assert (Rows(data).take_with_log_det(torch.arange(3))[1] == 0).all()


def test_subset_is_part_of_the_order(rows):
    subset = rows.subset(slice(10, 30))
    assert len(subset) == 20
    assert torch.equal(subset.take(torch.arange(20)), rows.take(torch.arange(10, 30)))


def test_rows_on_their_device_are_the_same(rows):
    x, log_det = rows.take_with_log_det(torch.arange(50))
    rows.move()
    for n_rows, some in ((50, rows), (5, rows.subset(slice(5)))):
        moved_x, moved_log_det = some.take_with_log_det(torch.arange(n_rows))
        assert torch.equal(moved_x, x[:n_rows])
        assert torch.equal(moved_log_det, log_det[:n_rows])


def test_weights_go_with_their_rows(rows, generator):
    rows.weights = torch.rand(50, generator=generator, dtype=torch.float64)
    rows = rows.subset(slice(20))
    x, weights = rows.take(torch.arange(20)), rows.take_weights(torch.arange(20))
    assert rows.mean_weight == pytest.approx(float(weights.mean()))
    for batch in Batches(rows, 6, generator, weight_unit=rows.mean_weight):
        for row, weight in zip(batch.x, batch.weights, strict=True):
            (index,) = (x == row).all(1).nonzero()[0]
            torch.testing.assert_close(weight, weights[index] / weights.mean())
        assert batch.mass == pytest.approx(float(batch.weights.mean()))


def test_rows_without_weights_have_those_of_one(generator):
    rows = Rows(torch.arange(6.0)[:, None])
    (batch,) = Batches(rows, 6, generator)
    assert batch.weights is None
    assert batch.mass == 1
    (batch,) = Batches(rows, 6, generator, weight_unit=4.0)
    assert (batch.weights == 0.25).all()


@pytest.mark.parametrize(("n_rows", "sizes"), [(23, [8, 8, 7]), (10, [10]), (3, [3])])
def test_every_row_may_be_in_an_epoch(n_rows, sizes, generator):
    batches = Batches(Rows(torch.arange(n_rows)[:, None].float()), 10, generator, every_row=True)
    epoch = [batch.x for batch in batches]
    assert [len(x) for x in epoch] == sizes
    assert len(batches) == len(sizes)
    assert torch.equal(torch.cat(epoch).sort(0)[0][:, 0], torch.arange(n_rows).float())
