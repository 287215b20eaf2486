"""The exceptions and warnings that are specific to skflow."""

from collections.abc import Sequence

__all__ = [
    "ColumnWarning",
    "DivergenceError",
    "FileFormatError",
    "InversionError",
    "RankError",
]


class ColumnWarning(UserWarning):
    """Columns of the data that a density does not suit, all of them in one warning.

    Given by ``fit``. It names columns that have no density, which are constant, repeat values or
    copy others, and columns whose scale a few extreme values would decide. It says what to do.
    """


class DivergenceError(ArithmeticError):
    """Training could not go on: every step from here gives non-finite values.

    Raised by ``fit`` once lowering the learning rate and going back to the best weights
    did not help. The estimator keeps the state it had before ``fit`` was called.
    """


class FileFormatError(ValueError):
    """A file does not hold what it should, or would do more than hold it.

    Raised where a model file or a checkpoint is cut off, altered or of a newer format, and where
    it asks for anything that is not known to be harmless. Nothing of it was run.
    """


class InversionError(ArithmeticError):
    """A bijection could not be inverted to the accuracy that it promises.

    Raised instead of returning a wrong number; the message holds the worst residual.
    """


class RankError(ConnectionError):
    """Another process of a fit by several stopped, so that the fit cannot go on.

    Raised by ``fit`` within :func:`skflow.distributed.data_parallel` and
    :func:`skflow.distributed.row_split`, on all processes that are left. Start them again. A
    data-parallel fit takes any number of processes then, and goes on from its last epochs if it
    has a `checkpoint_path`.

    Parameters
    ----------
    ranks : sequence of int
        The numbers of the processes that stopped; empty if these are not known.
    why : str
        What is known of the reason.
    """

    def __init__(self, ranks: Sequence[int], why: str) -> None:
        self.ranks = tuple(ranks)
        self.why = why
        names = " and ".join(f"rank {rank}" for rank in self.ranks) or "Some process"
        super().__init__(
            f"{names[0].upper()}{names[1:]} stopped ({why}), so that the fit cannot go on. Start "
            "the processes again. A data-parallel fit goes on from its last epochs, on any number "
            "of processes, if it has a checkpoint_path."
        )

    def __reduce__(self) -> tuple[type, tuple[tuple[int, ...], str]]:
        return type(self), (self.ranks, self.why)
