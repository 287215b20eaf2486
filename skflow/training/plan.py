"""What a fit does: the rows it takes, the flows that start from them, and how these train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from skflow.flow import Bijection, Flow
from skflow.flow.composition import composed
from skflow.training.architecture import DTYPES
from skflow.training.batches import Batches
from skflow.training.defaults import (
    TrainingSettings,
    resolve,
    training_settings,
    weight_decay,
)
from skflow.training.few_rows import FitOfFewRows
from skflow.training.fits import Refit, Stopping, Training, TrainingFit
from skflow.training.groups import held_out_first
from skflow.training.history import History
from skflow.training.optimizers import (
    OTHERS_RATE,
    Adam,
    NormalizedRelativeSGD,
    Optimizer,
    RelativeSGD,
)
from skflow.training.passes import Increment, Pass
from skflow.training.rows import Rows, noisy_columns
from skflow.training.simple import simple_start
from skflow.training.start import start

__all__ = ["OPTIMIZERS", "Plan", "plan_pass", "training_of"]

OPTIMIZERS: dict[str, type[NormalizedRelativeSGD | RelativeSGD | Adam]] = {
    "relative": NormalizedRelativeSGD,
    "sgd": RelativeSGD,
    "adam": Adam,
}

# By how many nats a validation score must rise to count as higher.
_LEAST_RISE = 1e-4

# The shares of a schedule's highest learning rates that suit rates that stay.
_LASTING_SHARE = 0.25
_LASTING_OTHERS_SHARE = 0.5

# The fraction of `max_time` that each candidate of few rows may take.
_TIME_OF_A_CANDIDATE = 0.3


class Plan:
    """A fit of a flow to rows, with the parameters of an estimator.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.RelativeGradientFlow`, as ``get_params`` returns them.
    rows : Rows
        All rows, as they came.
    flow : Flow
        On the device of the fit. Its first bijection does not train.
    constant : Tensor of shape (C,)
        The columns that are constant.
    generator : torch.Generator
        Where the randomness comes from. It is on the device of the fit.
    continued : bool, default=False
        Whether the flow goes on from where it is.

    Attributes
    ----------
    settings : Settings
        What the parameters come to.
    front : Bijection
        The first bijection of the flow.
    core : Flow
        The flow behind `front`, at its start.
    input_noises : tuple of float
        The noises to fit with. Where values repeat in every column, none is added.
    training, validation : Rows
        The rows to learn from, and those that are held out.
    sharpness : float
        That of the base distribution at the start.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        rows: Rows,
        flow: Flow,
        *,
        constant: torch.Tensor,
        generator: torch.Generator,
        continued: bool = False,
    ) -> None:
        self.parameters = parameters
        self.generator = generator
        self.constant = constant
        self.continued = continued
        self.front, self.core = flow.split()
        self.settings = resolve(parameters, len(rows), rows.n_features)
        rows = rows.shuffled(self.settings.training.batch_size, generator)
        self._shuffled, n_held_out = held_out_first(rows, self.settings.n_validation, generator)
        if n_held_out != self.settings.n_validation:  # whole groups
            settings = training_settings(parameters, len(rows) - n_held_out, rows.n_features)
            self.settings = replace(self.settings, n_validation=n_held_out, training=settings)
        self._standardize = self.front
        self._standard = self._behind(self.front)
        self._all = self._standard
        self._noisy = noisy_columns(self.training)
        self.input_noises = self.settings.input_noises if self._noisy.any() else (0.0,)
        may_start_simple = self.settings.starts_simple and self.core.can_be_neutral
        self._is_simple = (
            may_start_simple
            and not continued
            and not len(constant)
            and self._start_simple(self.training, self.validation)
        )
        self._unstarted = deepcopy(self.core) if self.settings.refits else self.core
        self.sharpness = self._start(self.core, self.training, self.validation)

    @property
    def training(self) -> Rows:
        """The rows to learn from."""
        return self._all.subset(slice(self.settings.n_validation, None))

    @property
    def validation(self) -> Rows:
        """The rows that are held out."""
        return self._all.subset(slice(self.settings.n_validation))

    def _behind(self, front: Bijection) -> Rows:
        dtype = DTYPES[self.parameters["dtype"]]
        return self._shuffled.behind(front, self.constant, self.generator, dtype)

    def _start_simple(self, training: Rows, validation: Rows, *, compared: bool = True) -> bool:
        """Put a simple density in front of the flow, if it is a good one."""
        n_bins = self.settings.network.n_bins
        simple = simple_start(
            training, validation, self.generator, n_bins=n_bins, compared=compared
        )
        if simple is None:
            return False
        self.front = composed(self._standardize, simple)
        self._all = self._behind(self.front)
        self._all.move()  # what takes long is done once
        return True

    def _start(self, core: Flow, training: Rows, validation: Rows) -> float:
        return start(
            core,
            training,
            validation,
            self.generator,
            continued=self.continued,
            neutral=self._is_simple,
        )

    def fit(self, started: float) -> TrainingFit | FitOfFewRows:
        """Begin the fit.

        Parameters
        ----------
        started : float
            When the clock of `max_time` was started, by :func:`time.perf_counter`.
        """
        noises = self.input_noises
        if not self.settings.refits:
            return self._candidate(self.core, noises[0], self._stopping(started))
        cores = [self.core, *(deepcopy(self.core) for _ in noises[1:])]

        def candidate(k: int) -> Callable[[], TrainingFit]:
            stopping = self._stopping(started, time_fraction=(k + 1) * _TIME_OF_A_CANDIDATE)
            return lambda: self._candidate(cores[k], noises[k], stopping)

        def refit(k: int, history: History) -> Refit:
            return self._refit(cores[k], noises[k], history)

        return FitOfFewRows([candidate(k) for k in range(len(noises))], refit)

    def _candidate(self, core: Flow, input_noise: float, stopping: Stopping) -> TrainingFit:
        early_stopping = self.parameters["early_stopping"]
        careful = (self.settings.refits or self._is_simple) and not self.continued
        return TrainingFit(
            self._training(
                core,
                self.training,
                self.settings.training,
                noise=_noise(self._noisy, input_noise),
                sharpness=self.sharpness,
            ),
            stopping,
            validation=self.validation if early_stopping else None,
            standard_errors=(2.0 if self._is_simple else 1.0) if careful else 0.0,
        )

    def _refit(self, chosen: Flow, input_noise: float, history: History) -> Refit:
        """Begin to fit every row, in the way that was best for those that were held out."""
        core = self._unstarted
        if chosen.bijections and core.bijections and chosen.bijections[0].starts:
            core.bijections[0].start_from = chosen.bijections[0].start_from
        nothing = self._all.subset(slice(0))
        if self._is_simple:
            self._start_simple(self._standard, nothing, compared=False)
        sharpness = self._start(core, self._all, nothing)
        settings = training_settings(self.parameters, len(self._all), self._all.n_features)
        noise = _noise(noisy_columns(self._standard), input_noise)
        training = self._training(core, self._all, settings, noise=noise, sharpness=sharpness)
        return Refit(training, history.path)

    def _training(
        self,
        core: Flow,
        rows: Rows,
        settings: TrainingSettings,
        *,
        noise: torch.Tensor | None,
        sharpness: float,
    ) -> Training:
        batches = Batches(
            rows,
            settings.batch_size,
            self.generator,
            noise=noise,
            weight_unit=rows.mean_weight,
        )
        return training_of(self.parameters, core, batches, settings, sharpness)

    def _stopping(self, started: float, time_fraction: float = 1.0) -> Stopping:
        max_time = self.parameters["max_time"]
        return Stopping(
            max_iter=self.settings.training.max_iter,
            max_time=None if max_time is None else time_fraction * max_time,
            started=started,
            n_iter_no_change=self.parameters["n_iter_no_change"],
            tol=_LEAST_RISE,
        )


def _noise(noisy: torch.Tensor, input_noise: float) -> torch.Tensor | None:
    return None if input_noise == 0 else input_noise * noisy


def plan_pass(
    parameters: Mapping[str, Any],
    rows: Rows,
    flow: Flow,
    increment: Increment,
    n_seen: int,
    generator: torch.Generator,
) -> Pass:
    """Say how a flow goes once over rows.

    Parameters
    ----------
    parameters : mapping
        As for :class:`Plan`.
    rows : Rows
        The rows, as `flow` takes them.
    flow : Flow
        Changed in place by the pass.
    increment : Increment
        What the pass before it left.
    n_seen : int
        How many rows there were so far, these included.
    generator : torch.Generator
        Where the randomness comes from.

    Returns
    -------
    one_pass : Pass
        To be run.
    """
    settings = training_settings(parameters, increment.n_rows, rows.n_features)
    settings = replace(settings, weight_decay=weight_decay(n_seen, rows.n_features))
    batches = Batches(
        rows,
        settings.batch_size,
        generator,
        every_row=True,
        weight_unit=increment.weight_unit,
    )
    trained = increment.resume(flow)
    training = training_of(parameters, trained, batches, settings, increment.sharpness)
    training = replace(
        training,
        rate=_LASTING_SHARE * training.rate,
        others_rate=_LASTING_OTHERS_SHARE * training.others_rate,
    )
    return Pass(training, flow, increment, settings)


def training_of(
    parameters: Mapping[str, Any],
    flow: Flow,
    batches: Batches,
    settings: TrainingSettings,
    sharpness: float,
) -> Training:
    """Say how a flow steps along its batches.

    Parameters
    ----------
    parameters : mapping
        With `optimizer`, `learning_rate` and `matmul_precision`, as for :class:`Plan`.
    flow : Flow
        What trains.
    batches : Batches
        Of the rows.
    settings : TrainingSettings
        What is "auto".
    sharpness : float
        That of the base distribution at the start.

    Returns
    -------
    training : Training
        With a new optimiser.
    """
    make = OPTIMIZERS[parameters["optimizer"]]
    optimizer: Optimizer = make(flow, weight_decay=settings.weight_decay)
    default = optimizer.default_rate(settings.batch_size, sharpness)
    rate = parameters["learning_rate"]
    rate = default if rate == "auto" else float(rate)
    return Training(
        flow,
        batches,
        optimizer,
        rate=rate,
        others_rate=OTHERS_RATE * rate / default,
        precision=parameters["matmul_precision"],
    )
