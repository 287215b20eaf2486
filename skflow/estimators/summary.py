"""What a fitted flow is, in one line of its `repr` and of its diagram in notebooks."""

from __future__ import annotations

from html import escape
from typing import Any

from skflow.flow import Bijection, Flow

__all__ = ["SummaryMixin"]


class SummaryMixin:
    """Let a fitted estimator say what it is: layers, rows, columns, seconds and nats."""

    flow_: Flow
    n_layers_: int
    n_samples_seen_: int
    n_features_in_: int
    fit_time_: float
    best_validation_score_: float | None
    loss_curve_: list[float]

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        text: str = super().__repr__(N_CHAR_MAX=N_CHAR_MAX)  # type: ignore[call-arg]
        return f"{text}  # {self._summary()}" if hasattr(self, "flow_") else text

    def _repr_html_inner(self) -> str:
        return self._with_summary(super()._repr_html_inner())  # type: ignore[misc]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] = self._with_summary(bundle["text/html"])
        return bundle

    def _with_summary(self, html: str) -> str:
        if not hasattr(self, "flow_"):
            return html
        return f"{html}<p>{escape(self._summary())}</p>"

    def _summary(self) -> str:
        parts = [_count(self.n_layers_, "dense layer"), *_learned(self.flow_)]
        nats = self.best_validation_score_
        where = "of held-out rows"
        if nats is None:
            nats, where = (-self.loss_curve_[-1] if self.loss_curve_ else None), "of its batches"
        score = "" if nats is None else f", {nats:.4g} nats {where}"
        return (
            f"{', '.join(parts)}; {self.n_samples_seen_:,} rows of "
            f"{_count(self.n_features_in_, 'column')} in {self.fit_time_:.1f} s{score}"
        )


def _learned(flow: Flow) -> list[str]:
    """Describe the splines and couplings between the dense layers."""
    bins: dict[str, set[int]] = {}
    for module in flow.modules():
        if isinstance(module, Bijection) and module.noun is not None:
            found = bins.setdefault(module.noun, set())
            n_bins: Any = getattr(module, "n_bins", None)
            found |= set() if n_bins is None else {n_bins}
    return [f"{noun} of {_bins(found)}" if found else noun for noun, found in bins.items()]


def _bins(counts: set[int]) -> str:
    return " and ".join(map(str, sorted(counts, reverse=True))) + " bins"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
