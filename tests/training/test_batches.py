import torch

from skflow.training.batches import Batches


def test_an_epoch_sees_each_row_at_most_once_in_batches_of_equal_size(generator):
    batches = Batches(torch.arange(23.0)[:, None], 5, generator)
    epoch = list(batches)
    assert len(epoch) == len(batches) == 4
    assert {batch.shape for batch in epoch} == {(5, 1)}
    assert len(torch.cat(epoch).unique()) == 20


def test_rows_left_over_get_their_turn(generator):
    batches = Batches(torch.arange(23.0)[:, None], 5, generator)
    seen = torch.cat([batch for _ in range(20) for batch in batches])
    assert len(seen.unique()) == 23


def test_few_rows_are_one_batch_in_their_order(generator):
    rows = torch.arange(3.0)[:, None]
    (batch,) = Batches(rows, 5, generator)
    assert torch.equal(batch, rows)


def test_order_is_that_of_the_generator():
    rows = torch.arange(100.0)[:, None]
    one, two = (Batches(rows, 10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
