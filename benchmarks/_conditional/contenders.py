"""Who takes part, in one order: whose seconds others are given comes first, the slowest last."""

from functools import partial

from _likelihood.task import LEADER

from .ensemble import fit_ensemble
from .flows import ZUKO, fit_skflow, fit_zuko
from .peers import fit_boosted, fit_forest, fit_linear, fit_ngboost, fit_treeffuser
from .task import Contender

__all__ = ["CONTENDERS"]

CONTENDERS = {
    LEADER: Contender(fit_skflow, "skflow"),
    "skflow, cv=5": Contender(partial(fit_skflow, cv=5), "skflow"),
    "linear Gaussian": Contender(fit_linear, "scikit-learn"),
    "deep ensemble": Contender(fit_ensemble, "torch"),
    **{name: Contender(partial(fit_zuko, name=name), "zuko", timed=True) for name in ZUKO},
    "NGBoost": Contender(fit_ngboost, "ngboost"),
    "quantile forest": Contender(fit_forest, "quantile-forest"),
    "boosted quantiles": Contender(fit_boosted, "scikit-learn"),
    "Treeffuser": Contender(fit_treeffuser, "treeffuser"),
}
