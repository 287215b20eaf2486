"""Rows of a group are held out together."""

import pytest
import torch

from skflow.training.groups import folds, held_out_first
from skflow.training.rows import Rows


def rows_of(groups):
    groups = torch.as_tensor(groups)
    return Rows(torch.arange(len(groups), dtype=torch.float64).unsqueeze(1), groups=groups)


def test_without_groups_nothing_changes(generator):
    rows, state = Rows(torch.zeros(9, 2)), generator.get_state()
    assert held_out_first(rows, 3, generator) == (rows, 3)
    grouped = rows_of([0, 0, 1])
    assert held_out_first(grouped, 0, generator) == (grouped, 0)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_whole_groups_come_first(size, generator):
    n_groups = 1000 // size
    groups = torch.randperm(n_groups * size, generator=generator) // size
    rows = rows_of(groups).shuffled(10, generator)
    shuffled = rows.which
    rows, n = held_out_first(rows, 100, generator)
    assert abs(n - 100) <= size / 2
    first, rest = rows.take_groups()[:n], rows.take_groups()[n:]
    assert not torch.isin(first, rest).any()
    assert torch.equal(rows.which.sort().values, torch.arange(len(groups)))
    # Either part stays in its random order.
    position = torch.empty_like(shuffled)
    position[shuffled] = torch.arange(len(shuffled))
    for part in (rows.which[:n], rows.which[n:]):
        assert (position[part].diff() > 0).all()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([950, 50], {50}), ([500, 500], {500}), ([1, 999], {1}), ([300, 300, 400], {300})],
)
def test_large_groups_leave_rows_to_learn_from(sizes, expected, generator):
    groups = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    _, n = held_out_first(rows_of(groups), 100, generator)
    assert n in expected


@pytest.mark.parametrize("n_held_out", [1, 50, 98, 99])
def test_one_group_at_least_is_learned_from(n_held_out, generator):
    groups = torch.arange(50).repeat_interleave(2)
    rows, n = held_out_first(rows_of(groups), n_held_out, generator)
    assert 0 < n < len(rows)
    assert n % 2 == 0


def test_one_group_cannot_be_held_out(generator):
    with pytest.raises(ValueError, match="groups must have two values at least"):
        held_out_first(rows_of([3, 3, 3]), 1, generator)


@pytest.mark.parametrize("groups", [None, torch.arange(100) // 5, torch.arange(100) // 50])
def test_folds_hold_every_row_out_once(groups, generator):
    parts = folds(100, 5, generator, groups)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(100))
    if groups is None:
        assert [len(part) for part in parts] == [20] * 5
    else:
        held = [set(groups[part].tolist()) for part in parts]
        assert sum(map(len, held)) == len(groups.unique())
        assert len(parts) == min(5, len(groups.unique()))


def test_folds_of_uneven_groups(generator):
    groups = torch.cat([torch.zeros(90), torch.arange(1, 11)]).long()
    parts = folds(100, 5, generator, groups)
    assert len(parts) >= 2
    assert len(parts[-1]) >= 90
