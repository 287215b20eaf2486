"""Which process has stopped, as the others tell from a store."""

import threading

import pytest
import torch.distributed as dist

from skflow.distributed import liveness
from skflow.distributed.liveness import Liveness
from skflow.exceptions import RankError


@pytest.fixture
def ranks(monkeypatch):
    """Three processes in one, whose hearts beat fast."""
    for name, seconds in (("BEAT", 0.02), ("SILENCE", 0.5), ("SILENCE_AFTER_BREAK", 0.3)):
        monkeypatch.setattr(liveness, f"_{name}", seconds)
    store = dist.HashStore()
    ranks = [Liveness(store, rank, range(3)) for rank in range(3)]
    for one in ranks:
        one.begin(1)
    yield ranks
    for one in ranks:
        one.stop()


def until_raised(check, limit=200):
    for _ in range(limit):
        check()
        threading.Event().wait(0.02)


def test_those_who_live_are_left_alone(ranks):
    ranks[0].check()
    error = ranks[0].explained(RuntimeError("connection reset"))
    assert error.ranks == ()
    assert "connection reset" in str(error)


def test_who_falls_silent_is_named(ranks):
    ranks[1].stop()
    with pytest.raises(RankError, match="Rank 1 stopped"):
        until_raised(ranks[2].check)
    assert ranks[0].explained(RuntimeError()).ranks == (1,)


def test_who_raises_is_named_with_the_error(ranks):
    ranks[2].report(ValueError("no rows"))
    for one in ranks[:2]:
        with pytest.raises(RankError, match=r"Rank 2 stopped \(ValueError: no rows\)"):
            one.check()


def test_who_tells_of_another_is_not_named(ranks):
    ranks[0].report(RankError([1], "no sign of life"))
    with pytest.raises(RankError, match=r"Rank 1 stopped \(no sign of life\)"):
        ranks[2].check()


def test_an_error_ends_one_fit(ranks):
    ranks[2].report(ValueError("no rows"))
    for one in ranks:
        one.begin(2)
    ranks[0].check()
    ranks[0].begin(1)
    with pytest.raises(RankError):
        ranks[0].check()


def test_where_the_store_is_gone_so_is_the_process_that_kept_it(ranks):
    class Gone:
        def check(self, keys):
            raise RuntimeError("Broken pipe")

    ranks[1].stop()
    ranks[1]._store = Gone()
    assert ranks[1].explained(RuntimeError()).ranks == (0,)
