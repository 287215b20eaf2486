"""Programs: operations that compiled kernels carry out in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow.operations import Operation
from skflow.flow.tracing import is_differentiated, is_traced

__all__ = ["Program", "Pulled", "are_compiled"]

_PRECISIONS = frozenset({torch.float32, torch.float64})

# Fewer rows are not worth a thread.
_ROWS_OF_A_THREAD = 1024


def are_compiled(*tensors: Tensor) -> bool:
    """Whether there are kernels for what is computed with these tensors.

    Parameters
    ----------
    *tensors : Tensor
        Rows, and parameters.

    Returns
    -------
    compiled : bool
        True on the CPU, in float32 and float64, with Numba installed, where nothing is
        differentiated or traced by PyTorch.
    """
    for tensor in tensors:
        if tensor.dtype not in _PRECISIONS or tensor.device.type != "cpu":
            return False
    if is_traced(*tensors) or is_differentiated(*tensors):
        return False
    return _kernels() is not None


@cache
def _kernels() -> ModuleType | None:
    try:
        from skflow.flow import kernels
    except ImportError:
        return None
    return kernels


class Pulled(NamedTuple):
    """What :meth:`Program.forward_and_pullback` takes back."""

    by_x: Tensor | None
    """The gradient with respect to what came in, of shape (N, D)."""

    deltas: Tensor
    """Those with respect to what leaves the dense layers, of shape (L, D, N)."""

    ys: Tensor
    """What leaves the dense layers, of shape (L, D, N)."""


class Program:
    """Operations, one after the other, as the kernels take them.

    Parameters
    ----------
    operations : sequence of Operation
        Of one precision. The kernels read their tensors where they are.
    n_features : int
        The number D of columns.
    """

    def __init__(self, operations: Sequence[Operation], n_features: int) -> None:
        kernels = _kernels()
        assert kernels is not None
        self._kernels = kernels
        self.operations = tuple(operations)
        self.n_features = n_features
        self.trained = [tensor for one in operations for tensor in one.trained]
        self._n_dense = sum(one.weight is not None for one in operations)
        self._tensors = [tensor for one in operations for tensor in one.tensors]
        self.dtype = self._tensors[0].dtype
        self._addresses = self._current_addresses()
        self._gradient_addresses: list[int] = []
        self._table = self._lay_out()
        self._panels: Tensor | None = None

    @property
    def is_valid(self) -> bool:
        """Whether all tensors are where they were."""
        return self._current_addresses() == self._addresses

    def forward(self, x: Tensor, *, back: bool = False) -> tuple[Tensor, Tensor]:
        """Map rows, many of them in several threads.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows, in the precision of the operations.
        back : bool, default=False
            Whether the maps of columns are undone instead. There can be one operation only.

        Returns
        -------
        y : Tensor of shape (N, D)
            The mapped rows.
        log_det : Tensor of shape (N,)
            The sums of log-slopes, in nats. Those of dense layers are left out.
        """
        y, log_det = torch.empty_like(x), x.new_empty(len(x))
        n_threads = min(torch.get_num_threads(), max(1, len(x) // _ROWS_OF_A_THREAD))
        length = -(-len(x) // n_threads)

        def map_part(start: int) -> None:
            part = slice(start, start + length)
            panel = x.new_empty(self._panel_rows * self._kernels.PANEL)
            self._map(x[part], y[part], log_det[part], panel, keeps=False, back=back)

        if n_threads == 1:
            map_part(0)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(map_part, range(0, len(x), length)))
        return y, log_det

    def forward_and_pullback(
        self, x: Tensor
    ) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor, bool], Pulled]]:
        """Do what :meth:`forward` does, for a step of training.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        y, log_det : Tensor
            As :meth:`forward` returns them.
        pullback : callable
            Takes the gradients with respect to both, and whether that with respect to `x` is
            wanted. Adds to the gradients of the parameters. To be called once, before the next
            step.
        """
        n_entries = -(-len(x) // self._kernels.PANEL) * self._panel_rows * self._kernels.PANEL
        if self._panels is None or len(self._panels) < n_entries:
            self._panels = x.new_empty(n_entries)
        panels = self._panels
        y, log_det = torch.empty_like(x), x.new_empty(len(x))
        tables = self._map(x, y, log_det, panels, keeps=True, back=False)

        def pullback(by_y: Tensor, by_log_det: Tensor, input_gradient: bool) -> Pulled:
            self._find_gradients()
            # What comes after may compute in another precision.
            by_y, by_log_det = by_y.to(self.dtype), by_log_det.to(self.dtype).contiguous()
            by_x = torch.empty_like(by_y) if input_gradient else by_y
            factors = by_y.new_empty(2, self._n_dense, self.n_features, len(by_y))
            scratch = by_y.new_empty(self._scratch_rows * self._kernels.PANEL)
            self._kernels.kernel("pullback", self.dtype)(
                self._table.data_ptr(),
                len(self.operations),
                scratch.data_ptr(),
                tables.data_ptr(),
                panels.data_ptr(),
                self._panel_rows,
                by_y.data_ptr(),
                *by_y.stride(),
                by_log_det.data_ptr(),
                by_x.data_ptr(),
                *by_x.stride(),
                factors[0].data_ptr(),
                factors[1].data_ptr(),
                *by_y.shape,
                self._first_free_row,
                input_gradient,
            )
            return Pulled(by_x if input_gradient else None, *factors)

        return y, log_det, pullback

    def _map(
        self, x: Tensor, y: Tensor, log_det: Tensor, panels: Tensor, *, keeps: bool, back: bool
    ) -> Tensor:
        """Map rows, and return the tables that were made for it."""
        scratch = x.new_empty(self._scratch_rows * self._kernels.PANEL)
        tables = x.new_empty(self._n_table)
        self._kernels.kernel("inverse" if back else "forward", self.dtype)(
            self._table.data_ptr(),
            len(self.operations),
            scratch.data_ptr(),
            tables.data_ptr(),
            panels.data_ptr(),
            self._panel_rows,
            keeps,
            x.data_ptr(),
            *x.stride(),
            y.data_ptr(),
            *y.stride(),
            log_det.data_ptr(),
            *x.shape,
        )
        return tables

    def _current_addresses(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors]

    def _find_gradients(self) -> None:
        """Say where gradients are to be added, which begin as zeros."""
        for parameter in self.trained:
            gradient = parameter.grad
            if gradient is None or not gradient.is_contiguous():
                zeros = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
                parameter.grad = zeros if gradient is None else zeros.copy_(gradient)
        addresses = [p.grad.data_ptr() for p in self.trained if p.grad is not None]
        if addresses != self._gradient_addresses:
            self._gradient_addresses = addresses
            self._table.view(-1)[self._gradient_places] = torch.tensor(addresses)

    def _lay_out(self) -> Tensor:
        """Describe the operations, and say where in panels and tables things are."""
        lines: list[dict[str, int]] = []
        row, n_table, n_dense = self.n_features, 0, 0
        fields, places = self._kernels.FIELDS, []
        for one in self.operations:
            line = _numbers(one)
            line["x"] = 0 if not lines else lines[-1]["y"]
            for name, length in (
                ("hidden_0", one.n_hidden),
                ("hidden_1", one.n_hidden),
                ("theta", one.n_outputs),
                ("y", self.n_features),
            ):
                line[name] = row
                row += length
            for name in _names_of_trained(one):
                places.append(len(lines) * len(fields) + fields.index(f"by_{name}"))
            line["table"] = n_table
            if one.spacings is not None:
                n_table += one.n_columns * self._kernels.table_length(one.n_bins)
            line["dense"] = n_dense
            n_dense += one.weight is not None
            lines.append(line)
        self._panel_rows = row + 1  # the last is for log-determinants
        self._n_table = n_table
        self._first_free_row, self._scratch_rows = self._kernels.scratch_rows(
            self.n_features, max(one.n_bins for one in self.operations)
        )
        self._gradient_places = torch.tensor(places, dtype=torch.int64)
        return torch.tensor([[line.get(name, 0) for name in fields] for line in lines])


def _names_of_trained(operation: Operation) -> list[str]:
    if not operation.conditioner:
        return ["spacings", "slopes"][: len(operation.trained)]
    return [f"{name}_{k}" for k in range(3) for name in ("weight", "bias")]


def _numbers(operation: Operation) -> dict[str, int]:
    """Return what there is to say of an operation alone: numbers and addresses."""
    names = ("n_given", "n_columns", "n_bins", "n_shares", "has_affine", "n_hidden", "n_outputs")
    numbers = {name: int(getattr(operation, name)) for name in names}
    has_own = operation.spacings is None
    numbers["n_slopes"] = operation.n_bins - 1 if has_own else operation.n_bins + 1
    tensors = {name: getattr(operation, name) for name in ("weight", "bias", "low", "size")}
    tensors |= dict(zip(_names_of_trained(operation), operation.trained, strict=True))
    addresses = {name: t.data_ptr() for name, t in tensors.items() if t is not None}
    return numbers | addresses
