"""What a fit of a conditional flow does: its starts, its network, and how it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skflow.flow import (
    Bijection,
    Flow,
    Given,
    GivenBase,
    LatentTails,
    LinearStack,
    Normal,
    SplineCoupling,
    Standardize,
)
from skflow.flow.composition import composed
from skflow.flow.weighted import row_counts
from skflow.training.architecture import DTYPES
from skflow.training.batches import Batches
from skflow.training.conditional_defaults import ConditionalSettings, conditional_settings
from skflow.training.few_rows import FitOfFewRows
from skflow.training.fits import Fit, Refit, Training, TrainingFit
from skflow.training.groups import held_out_first
from skflow.training.history import History
from skflow.training.passes import Increment
from skflow.training.plan import STANDARD_ERRORS, TIME_OF_CANDIDATES, stopping_of, training_of
from skflow.training.regression import ridge_regression
from skflow.training.rows import Rows
from skflow.training.scores import weighted_mean, winsorized
from skflow.training.stacking import stacked_start
from skflow.training.start import start

__all__ = ["ConditionalPlan", "conditional_bijections", "training_parameters"]

# From so many rows, a start is learned, and by so many compared.
_START_ROWS = 20_000
_MIXTURE_ROWS = 3_000

# Latents of held-out rows are scaled as if there were so many more of unit variance, and none
# counts for more than five standard deviations.
_ROWS_OF_UNIT_VARIANCE = 50
_LARGEST_SQUARE = 25.0

# Mixtures of more targets have too many parameters. Those of many components have ripples that
# the features cannot smooth out, and take long to invert.
_MIXED_TARGETS, _MOST_COMPONENTS = 8, 16


def conditional_bijections(
    settings: ConditionalSettings, n_context: int, n_targets: int, dtype: torch.dtype
) -> list[Bijection]:
    """Return the network between targets that a start has made normal and latents.

    Each layer maps every target by a spline that the context says. Where several targets share the
    network, a dense layer turns them before, and a second spline maps half of them as the context
    and the other half say. All of these start as the identity, but for the turns.

    Parameters
    ----------
    settings : ConditionalSettings
        The sizes.
    n_context : int
        The number of columns of the context.
    n_targets : int
        The number of targets.
    dtype : torch.dtype
        The precision of the parameters.

    Returns
    -------
    bijections : list of Bijection
        In order. They keep the context.
    """
    n_features = n_context + n_targets

    def coupling(n_given: int) -> Bijection:
        return SplineCoupling(
            n_features,
            n_hidden=settings.n_hidden,
            n_bins=settings.n_bins,
            dtype=dtype,
            n_given=n_given,
        )

    bijections: list[Bijection] = []
    for _ in range(settings.n_layers):
        if n_targets > 1:
            dense = LinearStack(1, n_targets, init="orthogonal", dtype=dtype)
            bijections += [Given(dense, n_context), coupling(n_context + n_targets // 2)]
        bijections.append(coupling(n_context))
    return [*bijections, Given(LatentTails(n_targets), n_context)]


def training_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a conditional estimator, with what it does not let choose.

    Parameters
    ----------
    parameters : mapping
        As ``get_params`` returns them.
    """
    chosen = {"optimizer": "relative", "matmul_precision": "highest", "input_noise": 0.0}
    return {**parameters, **chosen}


class ConditionalPlan:
    """A fit of a conditional flow to rows of a context with targets behind it.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.ConditionalFlow`, as ``get_params`` returns them.
    rows : Rows
        All rows: a standardised context, and the targets in their units.
    target_front : Bijection
        What brings the targets to one scale.
    constant : Tensor of shape (C,)
        The targets that are constant, which are modelled as normal with unit variance.
    generator : torch.Generator
        Where the randomness comes from. It is on the device of the fit.

    Attributes
    ----------
    settings : ConditionalSettings
        What is "auto".
    front : Bijection
        What stands before the network. It does not train.
    core : Flow
        The network, at its start until it trains.
    starts : list of Bijection
        What makes targets of one scale normal, as far as it goes. It is a part of `front`.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        rows: Rows,
        target_front: Bijection,
        *,
        constant: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        self.parameters = parameters
        self.generator = generator
        self._n_targets = target_front.n_features or 1
        self._n_context = rows.n_features - self._n_targets
        self.settings = conditional_settings(parameters, len(rows), self._n_context)
        rows = rows.shuffled(self.settings.training.batch_size, generator)
        self._shuffled, self._n_held_out = held_out_first(
            rows, self.settings.n_validation, generator
        )
        self._target_front = Given(target_front, self._n_context)
        self._constant = self._n_context + constant
        self._scaled = self._behind(self._target_front, torch.float64)
        self.starts = self._best_starts()
        self._deviations: Tensor | None = None
        self._stand()

    @property
    def all_rows(self) -> Rows:
        """All rows as they came, in random order. Those that are held out come first."""
        return self._shuffled

    @property
    def training(self) -> Rows:
        """The rows that the flow learns from."""
        return self._rows.subset(slice(self._n_held_out, None))

    @property
    def validation(self) -> Rows:
        """The rows that are held out."""
        return self._rows.subset(slice(self._n_held_out))

    @property
    def n_rows(self) -> int:
        """The number of all rows."""
        return len(self._shuffled)

    def increment(self, n_steps: float) -> Increment:
        """Return what passes over further rows go on with.

        Parameters
        ----------
        n_steps : float
            How many steps were taken.
        """
        unit = self.training.mean_weight
        return Increment(len(self.training), self._constant, unit, 1.0, n_steps=n_steps)

    def fit(self, started: float) -> Fit:
        """Begin the fit.

        Parameters
        ----------
        started : float
            When the clock of `max_time` was started, by :func:`time.perf_counter`.
        """
        refits = self.settings.refits
        share = TIME_OF_CANDIDATES if refits else 1.0
        first = TrainingFit(
            self._training(),
            stopping_of(self.parameters, self.settings.training, started, share),
            validation=self.validation if self._n_held_out else None,
            standard_errors=STANDARD_ERRORS if refits else 0.0,
        )
        return FitOfFewRows([lambda: first], self._refit, self) if refits else first

    @torch.no_grad()
    def calibrated(self, flow: Flow) -> Flow:
        """Return a trained flow whose latents have unit variance for rows that were held out.

        Networks that know their rows by heart are too sure of others. As few rows do not tell by
        how much, some rows of unit variance are counted with them.

        Parameters
        ----------
        flow : Flow
            With its best weights.
        """
        deviations = self._latent_deviations(flow) if self._n_held_out else self._deviations
        if deviations is None:
            return flow
        last = Standardize(torch.zeros_like(deviations), deviations)
        bijections = [*flow.bijections, Given(last, self._n_context)]
        return Flow(bijections, flow.base, n_features=flow.n_features).to(self.generator.device)

    def _latent_deviations(self, flow: Flow) -> Tensor:
        validation = self.validation
        squares = torch.cat(
            [flow(x)[:, self._n_context :].square().cpu() for x, _ in validation.blocks()]
        )
        squares = squares.double().clamp_max(_LARGEST_SQUARE)
        weights = validation.take_weights()
        counts = (
            torch.ones(len(squares), dtype=torch.float64)
            if weights is None
            else row_counts(weights)
        )
        variances = (counts @ squares + _ROWS_OF_UNIT_VARIANCE) / (
            counts.sum() + _ROWS_OF_UNIT_VARIANCE
        )
        return variances.sqrt()

    def _refit(self, k: int, history: History) -> Refit:
        """Begin to fit every row, as the rows that were held out say."""
        self._deviations = self._latent_deviations(self.core)
        self._n_held_out = 0
        self.starts = self._learned(self._kinds, self._standard())
        self._stand()
        return Refit(self._training(), history.path)

    def _stand(self) -> None:
        """Start a network behind what the targets start from."""
        dtype = DTYPES[self.parameters["dtype"]]
        self.front = composed(self._target_front, *self.starts)
        self._rows = self._behind(self.front, dtype)
        self._rows.move()
        bijections = conditional_bijections(self.settings, self._n_context, self._n_targets, dtype)
        base = GivenBase(Normal(), self._n_context)
        core = Flow(bijections, base, n_features=self._n_context + self._n_targets)
        self.core = core.to(self.generator.device)
        none = self._rows.subset(slice(0))
        start(self.core, self.training, none, self.generator, neutral=True)

    def _behind(self, front: Bijection, dtype: torch.dtype) -> Rows:
        return self._shuffled.behind(front, self._constant, self.generator, dtype)

    def _training(self) -> Training:
        rows = self.training
        settings = self.settings.training
        batches = Batches(rows, settings.batch_size, self.generator, weight_unit=rows.mean_weight)
        parameters = training_parameters(self.parameters)
        return training_of(parameters, self.core, batches, settings, 1.0)

    def _standard(self) -> tuple[Tensor, Tensor | None]:
        """Return rows to learn a start from, with the targets on one scale, and their counts."""
        first = self._n_held_out
        some = torch.arange(first, min(len(self._shuffled), first + _START_ROWS))
        weights = self._shuffled.take_weights(some)
        x = self._scaled.take(some)
        return x, None if weights is None else row_counts(weights).to(x.device)

    def _learned(
        self, kinds: tuple[str, ...], standard: tuple[Tensor, Tensor | None]
    ) -> list[Bijection]:
        """Return what makes targets standard normal, step by step."""
        x, counts = standard
        parts: list[Bijection] = []
        for kind in kinds:
            if kind == "linear":
                c, y = x[:, : self._n_context], x[:, self._n_context :]
                parts.append(ridge_regression(c, y, counts))
            else:
                y = x[:_MIXTURE_ROWS, self._n_context :].contiguous()
                some = None if counts is None else counts[:_MIXTURE_ROWS]
                n = len(y) // 10
                own = None if some is None else some[n:]
                mixture = stacked_start(
                    y[n:], y[:n], self._twin(), own, n_fits=1, most_components=_MOST_COMPONENTS
                ).bijection
                parts.append(Given(mixture, self._n_context))
            x = parts[-1].forward(x)
        return parts

    def _best_starts(self) -> list[Bijection]:
        """Choose what the targets start from, by the rows that are held out."""
        self._kinds: tuple[str, ...] = ("linear",)
        standard = self._standard()
        if not self._n_held_out or len(standard[0]) < 20 or self._n_targets > _MIXED_TARGETS:
            return self._learned(self._kinds, standard)
        held_out = self._scaled.subset(slice(min(self._n_held_out, _START_ROWS)))
        x = held_out.take(torch.arange(len(held_out)))
        best, highest = None, -torch.inf
        for kinds in (("linear",), ("mixture",), ("linear", "mixture")):
            starts = self._learned(kinds, standard)
            z, log_det = composed(*starts).forward_and_log_det(x)
            values = log_det - 0.5 * z[:, self._n_context :].square().sum(1)
            score = weighted_mean(winsorized(values.cpu()), held_out)
            if score > highest:
                best, highest, self._kinds = starts, score, kinds
        assert best is not None
        return best

    def _twin(self) -> torch.Generator:
        """Return a generator that draws the same each time."""
        return torch.Generator(self.generator.device).manual_seed(0)
