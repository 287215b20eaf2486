"""Rows that are read block by block: what a pass has, in which order, and the first pass."""

import math
import threading

import pytest
import torch

from skflow.flow import Standardize
from skflow.training import streams, survey
from skflow.training.batches import Batches
from skflow.training.parts import PartsOfBatches
from skflow.training.rows import Rows
from skflow.training.sources import in_order, read_ahead
from skflow.training.streams import UnreadRows
from skflow.training.survey import survey as first_pass

PARAMETERS = {"early_stopping": True, "validation_fraction": 0.1}


class Blocks:
    """Tensors, each in pieces of seven rows, and a record of which were read."""

    def __init__(self, data, lengths):
        self.data = data.split(lengths)
        self.offsets = torch.tensor([0, *lengths]).cumsum(0).tolist()
        self.n_features, self.dtype = data.shape[1], data.dtype
        self.was_read = []

    def read(self, block):
        self.was_read.append(block)
        yield from self.data[block].split(7)


def numbered(n_rows, lengths=None, n_features=2):
    """Return rows of which each has its number in all columns."""
    data = torch.arange(float(n_rows))[:, None].expand(-1, n_features).contiguous()
    return Blocks(data, [10] * (n_rows // 10) if lengths is None else lengths)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(streams, "_WINDOW_BYTES", 40 * 8)  # of two float32 columns


def streamed(generator, source, parameters=PARAMETERS, **attributes):
    rows = first_pass(UnreadRows(source, **attributes), parameters, generator)
    return rows.without_first(rows.n_held_out)


def epoch(rows, generator, batch_size=5):
    return torch.cat([batch.x for batch in Batches(rows, batch_size, generator)])[:, 0].long()


def test_an_epoch_has_every_row_once_that_is_not_held_out(generator):
    rows = streamed(generator, numbered(200))
    assert (len(rows), rows.n_held_out) == (180, 20)
    seen = [epoch(rows, generator).sort().values for _ in range(3)]
    held_out = rows.positions[:20]
    assert all(torch.equal(one, seen[0]) for one in seen)
    assert torch.equal(torch.cat([seen[0], held_out]).sort().values, torch.arange(200))


def test_rows_that_fill_no_batch_wait_for_another_epoch(generator):
    rows = streamed(generator, numbered(200, [33, 17, 50, 1, 99]))
    batches = Batches(rows, 7, generator)
    epochs = [list(batches) for _ in range(20)]
    assert {len(one) for one in epochs} == {len(batches)} == {180 // 7}
    assert {batch.x.shape for one in epochs for batch in one} == {(7, 2)}
    assert all(len(torch.cat([b.x for b in one])[:, 0].unique()) == 175 for one in epochs)
    seen = torch.cat([batch.x[:, 0] for one in epochs for batch in one]).unique()
    assert len(seen) == 180


def test_the_order_is_that_of_the_generator_and_another_in_each_epoch():
    def two_epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        rows = streamed(generator, numbered(200))
        return epoch(rows, generator), epoch(rows, generator)

    (one, two), (again, _), (other, _) = two_epochs(3), two_epochs(3), two_epochs(4)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("noise", [None, torch.tensor([0.1, 0.2])])
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_of_batches_make_the_whole(noise, weighted):
    attributes = {}
    if weighted:
        attributes["weights"] = torch.arange(1.0, 201.0, dtype=torch.float64)

    def batches():
        generator = torch.Generator().manual_seed(0)
        rows = streamed(generator, numbered(200), **attributes)
        return Batches(rows, 5, generator, noise=noise, weight_unit=rows.mean_weight)

    whole = list(batches())
    parts = [list(PartsOfBatches(batches(), rank, 2)) for rank in range(2)]
    assert len(whole) == len(parts[0]) == len(parts[1])
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([one.x for one in of_ranks]), batch.x)
        assert {one.n_rows for one in of_ranks} == {5}
        assert all(one.mass == batch.mass for one in of_ranks)
        weights = torch.ones(5, dtype=torch.float64) if batch.weights is None else batch.weights
        own = torch.cat([one.weights * 5 / len(one.x) for one in of_ranks])
        torch.testing.assert_close(own, weights)


def test_windows_have_few_whole_blocks_from_all_over(generator):
    source = numbered(400)
    rows = streamed(generator, source, {"early_stopping": False})
    source.was_read.clear()
    order = epoch(rows, generator)
    assert sorted(source.was_read) == list(range(40))
    assert source.was_read != list(range(40))
    for window in order.split(40):
        assert window.div(10, rounding_mode="floor").unique().numel() == 4
    # In a window, the rows of a block do not stay together.
    assert (order.div(10, rounding_mode="floor").diff() == 0).float().mean() < 0.5


def test_a_window_is_no_larger_than_it_may_be_and_holds_whole_batches(generator):
    rows = streamed(generator, numbered(400, [133, 267]))
    lengths = [len(window) for window in rows.windows(6, generator)]
    assert lengths == [36] * 10


def test_rows_of_no_weight_are_left_out_and_weights_follow_their_rows(generator):
    weights = torch.arange(200.0, dtype=torch.float64) % 4
    rows = streamed(generator, numbered(200), weights=weights)
    assert (len(rows), rows.n_held_out) == (135, 15)
    assert torch.equal(rows.sample.take_weights(), weights[rows.positions[15:]])
    batches = Batches(rows, 5, generator, weight_unit=rows.mean_weight)
    seen = [(batch.x[:, 0].long(), batch.weights) for batch in batches]
    order = torch.cat([x for x, _ in seen])
    its_weights = torch.cat([w for _, w in seen])
    assert torch.equal(its_weights, weights[order] / rows.mean_weight)
    assert (weights[order] > 0).all()
    assert rows.mean_weight == pytest.approx(float(weights[order].mean()))
    assert len(order.unique()) == 135


def test_windows_go_through_what_stands_before_the_flow(generator):
    rows = streamed(generator, numbered(200)).behind(
        Standardize(torch.tensor([100.0, 0.0]), torch.tensor([2.0, 1.0])),
        torch.empty(0, dtype=torch.long),
        generator,
        torch.float64,
    )
    batch = next(iter(Batches(rows, 5, generator)))
    assert batch.x.dtype == torch.float64
    torch.testing.assert_close(100 + 2 * batch.x[:, 0], batch.x[:, 1])
    expected = torch.full((5,), -math.log(2), dtype=torch.float64)
    torch.testing.assert_close(batch.log_det, expected)


def test_constant_columns_are_filled_with_new_draws_of_unit_variance(generator):
    source = Blocks(torch.zeros(4000, 1), [400] * 10)
    rows = streamed(generator, source).behind(
        Standardize(torch.zeros(1), torch.ones(1)), torch.tensor([0]), generator, torch.float32
    )
    one, two = (torch.cat([b.x for b in Batches(rows, 5, generator)]) for _ in range(2))
    assert one.std() == pytest.approx(1, abs=0.1)
    assert len(torch.cat([one, two]).unique()) > 7000


@pytest.mark.parametrize("shuffled", [0, 2**20])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_row_is_held_out_and_looked_at_as_often(generator, monkeypatch, shuffled, weighted):
    monkeypatch.setattr(survey, "_SHUFFLED", shuffled)
    monkeypatch.setattr(survey, "n_start_rows", lambda *_: 10)
    weights = (torch.arange(100) % 5 != 0).double() if weighted else None
    rows = UnreadRows(numbered(100), weights)
    counts, n_rows = torch.zeros(2, 100), len(rows)
    for _ in range(500):
        held_out, others = survey._drawn(rows, 8, generator)
        assert (len(held_out), len(others)) == (8, 10)
        assert len(torch.cat([held_out, others]).unique()) == 18
        counts[0, held_out] += 1
        counts[1, others] += 1
    expected = counts.sum(1, keepdim=True) / n_rows
    if weighted:
        assert (counts[:, ::5] == 0).all()
        counts = counts[:, torch.arange(100) % 5 != 0]
    chi_squared = ((counts - expected).square() / expected).sum(1)
    assert (chi_squared < n_rows + 6 * (2 * n_rows) ** 0.5).all()


def test_the_first_pass_keeps_the_rows_that_were_drawn(generator, monkeypatch):
    monkeypatch.setattr(survey, "n_start_rows", lambda *_: 30)
    rows = first_pass(UnreadRows(numbered(200)), PARAMETERS, generator)
    assert rows.sample.data.shape == (50, 2)
    assert torch.equal(rows.sample.data[:, 0].long(), rows.positions)
    assert not torch.equal(rows.positions, rows.positions.sort().values)


def test_the_first_pass_finds_ranges_of_all_rows_with_some_weight(generator):
    data = torch.randn(300, 3, generator=generator)
    data[150] = 50.0
    weights = torch.ones(300, dtype=torch.float64)
    without = weights.clone()
    without[150] = 0
    for its_weights, which in ((weights, weights > 0), (without, without > 0)):
        source = Blocks(data, [100] * 3)
        rows = first_pass(UnreadRows(source, its_weights), PARAMETERS, generator)
        low, high = rows.column_ranges()
        assert torch.equal(low, data[which].amin(0))
        assert torch.equal(high, data[which].amax(0))
        torch.testing.assert_close(rows.sums, data[which].double().sum(0))


def test_held_out_rows_have_a_bound(generator, monkeypatch):
    monkeypatch.setattr(survey, "_MOST_HELD_OUT_ENTRIES", 60)
    monkeypatch.setattr(survey, "_FEWEST_HELD_OUT", 3)
    rows = first_pass(UnreadRows(numbered(1000)), PARAMETERS, generator)
    assert rows.n_held_out == 30
    assert len(rows.without_first(30)) == 970


def test_whole_groups_are_held_out(generator):
    groups = torch.arange(200) // 8
    weights = (torch.arange(200) % 3).double()
    rows = streamed(generator, numbered(200), weights=weights, groups=groups)
    seen = epoch(rows, generator, batch_size=1)
    held_out = rows.positions[: rows.n_held_out]
    assert not set(groups[seen].tolist()) & set(groups[held_out].tolist())
    assert len(seen) + len(held_out) == int((weights > 0).sum())
    assert 5 <= len(held_out) <= 26
    assert torch.equal(rows.sample.take_groups(), groups[rows.positions[rows.n_held_out :]])


def test_pieces_come_in_order():
    pieces = list(in_order(numbered(30, [13, 4, 13])))
    assert [start for start, _ in pieces] == [0, 7, 13, 17, 24]
    assert torch.equal(torch.cat([piece for _, piece in pieces])[:, 0], torch.arange(30.0))


def test_the_next_item_is_made_while_the_last_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def items():
        for k, event in enumerate(made):
            event.set()
            yield k

    ahead = read_ahead(items())
    assert next(ahead) == 0
    assert made[1].wait(10)  # although nobody has asked for it
    assert not made[2].is_set()
    assert list(ahead) == [1, 2]


def test_an_error_comes_where_its_item_was_due():
    def items():
        yield 1
        raise OSError("gone")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_a_pass_that_is_left_ends_its_thread(generator):
    rows = streamed(generator, numbered(400))
    batches = iter(Batches(rows, 5, generator))
    next(batches)
    assert [t for t in threading.enumerate() if t.name.startswith("skflow-reader")]
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("skflow-reader")]


def test_of_rows_in_memory_all_are_the_sample():
    rows = Rows(torch.eye(3))
    assert rows.sample is rows
    assert len(rows.without_first(1)) == 2
