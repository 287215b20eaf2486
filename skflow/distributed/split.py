"""Fits of flows whose columns, and dense layers, are divided among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from skflow.distributed.columns import Columns, together
from skflow.distributed.exchange import DataParallel
from skflow.distributed.parallel import data_parallel
from skflow.distributed.split_flow import build_split_flow
from skflow.flow.network import Flow
from skflow.training.batches import Batch, Batches
from skflow.training.exchange import current_exchange, exchanging
from skflow.training.optimizers import Optimizer
from skflow.training.rows import Rows
from skflow.training.streams import UnreadRows

__all__ = ["row_split"]

_REFUSED = {"checkpoint_path": None, "warm_start": False}


@contextmanager
def row_split(group: dist.ProcessGroup | None = None) -> Iterator[int]:
    """Divide the columns of flows, and their dense layers by rows, among the processes of a group.

    Within, :meth:`RelativeGradientFlow.fit` leaves each process with its part of the flow, and no
    process ever has a whole matrix of a dense layer: so flows fit that are larger than the memory
    of one. All processes call all methods, with the same rows and parameters, and get the same
    results. A flow that was fitted so works within `row_split` alone, in a group of the same size.

    Read more in the :ref:`User Guide <row_split>`.

    Parameters
    ----------
    group : ProcessGroup or None, default=None
        Some of the processes; by default, all. If there is no process group yet, and a launcher
        such as ``torchrun`` started this process, one is made and taken down again.

    Yields
    ------
    rank : int
        The number of this process in the group, 0 without one.

    Raises
    ------
    RankError
        By `fit`, if another process stopped.
    ValueError
        By `fit`, for what cannot be divided: couplings, base distributions that are not of
        independent latents, batches of as many rows as there are columns, and `checkpoint_path`
        and `warm_start`. Also if the processes do not have the same rows or parameters.

    See Also
    --------
    data_parallel : Divides batches, and is faster where a flow fits into each process.

    Notes
    -----
    A process that is alone, which no launcher started, fits as it does outside.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.distributed import row_split
    >>> X = np.random.default_rng(0).gamma(2.0, size=(200, 50))
    >>> with row_split():
    ...     flow = RelativeGradientFlow(coupling=None, max_iter=2, random_state=0).fit(X)
    ...     log_density = flow.score_samples(X)
    >>> log_density.shape
    (200,)
    """
    with data_parallel(group) as rank:
        members = getattr(current_exchange(), "group", None)
        if members is None:
            yield rank
            return
        with exchanging(RowSplit(members)), together(members):
            yield rank


class RowSplit(DataParallel):
    """Fits a flow together with other processes, each of which has a part of the columns."""

    name = "row_split"
    has_whole_rows = False

    def check_alike(self, rows: Rows | UnreadRows, parameters: Mapping[str, Any]) -> None:
        super().check_alike(rows, parameters)
        for name, value in _REFUSED.items():
            if parameters.get(name) != value:
                self.refuse(f"{name}={parameters[name]!r}")

    def refuse(self, what: str) -> None:
        raise ValueError(
            f"Within row_split, there is no {what}: a flow is in as many parts as there are "
            "processes. Within data_parallel, there is."
        )

    def own(self, rows: Rows | UnreadRows) -> Rows:
        if isinstance(rows, UnreadRows):
            self.refuse("fit to data that are larger than memory")
        assert isinstance(rows, Rows)
        return _OwnColumns(rows, Columns(rows.n_features, self.rank, self.n_ranks))

    def build_flow(self, parameters: Mapping[str, Any], n_rows: int, n_features: int) -> Flow:
        columns = Columns(n_features, self.rank, self.n_ranks)
        return build_split_flow(parameters, n_rows, n_features, columns)

    def most(self, value: float) -> float:
        own = torch.tensor([value], dtype=torch.float64, device=self.group.device)
        return float(self.group.gather(own)().max())

    def share(self, module: nn.Module) -> None:
        """Leave each process what it has.

        Parameters
        ----------
        module : Module
            Not changed.
        """

    def batches(self, batches: Batches) -> Batches:
        return batches

    def gradient(self, flow: Flow, optimizer: Optimizer, batch: Batch, penalty: float) -> Tensor:
        loss = flow.relative_gradient(batch.x, batch.weights)
        told = torch.tensor(self._told(), dtype=torch.float64, device=self.group.device)
        self._hear(self.group.sum(told)().tolist())
        return loss

    def summed(self, values: Tensor) -> Tensor:
        """Return what the flow has summed already.

        Parameters
        ----------
        values : Tensor
            Of whole rows.
        """
        return values

    def of_rows(self, function: Callable[[Rows], Tensor], rows: Rows) -> Tensor:
        result = function(rows)
        self.agreed(None)  # what time it is
        return result


class _OwnColumns(Rows):
    """Rows of which this process reads its own columns alone.

    Parameters
    ----------
    rows : Rows
        Whole ones, as they came.
    columns : Columns
        Those of this process.
    """

    def __init__(self, rows: Rows, columns: Columns) -> None:
        self.__dict__.update(rows.__dict__)
        self.data = rows.data[:, columns.own]
        self._columns = columns

    @property
    def n_features(self) -> int:
        return self._columns.n_features

    @property
    def first_column(self) -> int:
        return self._columns.own.start

    def take_with_log_det(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = super().take_with_log_det(indices)
        return x, self._columns.sum(log_det)

    def _filling(self, constant: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        # All processes go on with the same state, and none has the draws of another.
        seed = generator.initial_seed() + 1 + self._columns.rank
        return super()._filling(constant, torch.Generator(generator.device).manual_seed(seed))
