"""Compiled kernels: rows through dense layers, couplings and splines in one pass, and back.

Rows go through all operations 64 at a time, as a *panel*: a matrix with a row for each feature or
hidden unit and a column for each of the 64. A panel stays in a processor's cache from the first
operation to the last; each inner loop runs over neighbours, has a length that is known, and
becomes a few instructions on whole registers.

The mathematics is that of :mod:`skflow.flow.couplings`, :mod:`skflow.flow.splines` and
:mod:`skflow.flow.accumulator`, which are the oracles of the tests. :ref:`derivatives_of_splines`
derives it.

Numba compiles the kernels when they are first called, and keeps them on disk.
"""

from skflow.flow.kernels.layout import FIELDS, PANEL, scratch_rows, table_length
from skflow.flow.kernels.programs import kernel

__all__ = ["FIELDS", "PANEL", "kernel", "scratch_rows", "table_length"]
