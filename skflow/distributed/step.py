"""What the processes of a data-parallel fit exchange in a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.distributed.group import Group
from skflow.distributed.traffic import n_factors, rows_of_part
from skflow.flow.products import product
from skflow.flow.relative import Factors, RelativeLayer, Sums
from skflow.training.batches import Batch
from skflow.training.optimizers import Optimizer
from skflow.training.vector import alike

__all__ = ["StepExchange"]


class StepExchange:
    """Makes the gradients of a part of a batch those of the batch.

    The exchange of each dense layer begins as soon as the backward pass has left it. With the last
    of them begins that of all parameters behind it, whose gradients are complete then.

    Parameters
    ----------
    group : Group
        The processes.
    optimizer : Optimizer
        Whose step it is.
    batch : Batch
        This process's part of the rows.
    penalty : float
        That of the step.
    """

    def __init__(self, group: Group, optimizer: Optimizer, batch: Batch, penalty: float) -> None:
        self.group, self.optimizer, self.batch = group, optimizer, batch
        self.penalty = penalty
        self._begun: list[Callable[[], None]] = []
        self._n_left = len(optimizer.layers)

    def wants_product(self, layer: RelativeLayer) -> bool:
        """Whether :math:`y W` is exchanged.

        Parameters
        ----------
        layer : RelativeLayer
            The dense layer.
        """
        return self._n_factors(layer) == 3

    def take(self, layer: RelativeLayer, factors: Factors) -> None:
        """Begin to exchange what a dense layer has.

        Parameters
        ----------
        layer : RelativeLayer
            The dense layer.
        factors : Factors
            Those of this process's rows.
        """
        if self._n_factors(layer):
            self._begin_factors(layer, factors)
        else:
            assert self.batch.weights is not None
            mass = float(self.batch.weights.mean())
            own = factors._replace(mass=mass, weights=self.batch.weights)
            self._begin_sums(layer, self.optimizer.sums(layer, own, self.penalty))
        self._n_left -= 1
        if self._n_left == 0:
            self._begin_gradients([late for _, late in self.optimizer.split_gradients()])

    def end(self, told: list[float]) -> list[float]:
        """Exchange what is left, and wait for all of it, after the backward pass.

        Parameters
        ----------
        told : list of float
            What there is to tell beside.

        Returns
        -------
        sums : list of float
            What all processes told, added up.
        """
        split = self.optimizer.split_gradients()
        left = [early for early, _ in split] + [late for _, late in split if self._n_left > 0]
        control = (left[0] if left else self.batch.x).new_tensor(told)
        self._begin_gradients([*left, control])
        for complete in self._begun:
            complete()
        sums: list[float] = control.tolist()
        return sums

    def _n_factors(self, layer: RelativeLayer) -> int:
        return n_factors(self.batch.n_rows, layer.weight.shape[-1])

    def _begin_factors(self, layer: RelativeLayer, factors: Factors) -> None:
        own = [factors.delta, factors.y]
        if self.wants_product(layer) and factors.y_weight is not None:
            own.append(factors.y_weight)
        n_layers, n_rows, n_features = factors.y.shape
        n_sent = rows_of_part(self.batch.n_rows, self.group.n_ranks)
        sent = factors.y.new_zeros((len(own), n_layers, n_sent, n_features))
        for factor, room in zip(own, sent, strict=True):
            room[:, :n_rows] = factor
        wait = self.group.gather(sent)

        def complete() -> None:
            # Of the rows that fill up a part, all is zero.
            delta, y, *rest = wait().permute(1, 2, 0, 3, 4).flatten(2, 3).contiguous()
            y_weight = rest[0] if rest else product(y, layer.weight.detach())
            layer.factors = Factors(delta, y, y_weight, self.batch.mass)

        self._begun.append(complete)

    def _begin_sums(self, layer: RelativeLayer, sums: Sums) -> None:
        relative, delta_sum = sums.relative_matrix, sums.delta_sum
        wait = self.group.sum(torch.cat([relative.reshape(-1), delta_sum.reshape(-1)]))

        def complete() -> None:
            parts = wait().split([relative.numel(), delta_sum.numel()])
            matrix, vector = parts[0].view_as(relative), parts[1].view_as(delta_sum)
            layer.factors = Sums(matrix, vector, self.batch.mass)

        self._begun.append(complete)

    def _begin_gradients(self, vectors: list[Tensor]) -> None:
        """Begin to add vectors up, in place, as one of each precision."""
        for group in alike(one for one in vectors if len(one)):
            self._begin_sum(group)

    def _begin_sum(self, vectors: list[Tensor]) -> None:
        wait = self.group.sum(torch.cat(vectors))

        def complete() -> None:
            parts = wait().split([len(one) for one in vectors])
            for vector, total in zip(vectors, parts, strict=True):
                vector.copy_(total)

        self._begun.append(complete)
