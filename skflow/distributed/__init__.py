"""Fits on several processes, by :mod:`torch.distributed`."""

from skflow.distributed.parallel import data_parallel

__all__ = ["data_parallel"]
