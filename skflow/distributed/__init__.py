"""Fits on several processes, by :mod:`torch.distributed`."""

from skflow.distributed.parallel import data_parallel
from skflow.distributed.split import row_split

__all__ = ["data_parallel", "row_split"]
