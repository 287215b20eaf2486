"""What users write, for type checkers alone: it is checked, and run by no test."""

from typing import Any, assert_type

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from torch import Tensor

import skflow
from skflow import (
    DensityEnsemble,
    FlowClassifier,
    FlowImputer,
    FlowOutlierDetector,
    NormalMixture,
    RelativeGradientFlow,
    SmoothLeakyReLU,
    TableFlow,
    default_bijections,
)
from skflow.flow import Bijection, ElementwiseSpline, Flow, StudentT
from skflow.metrics import energy_distance
from skflow.preprocessing import (
    LogitTransformer,
    sample_in_original_units,
    score_samples_in_original_units,
)
from skflow.tables import Periodic

X = np.random.default_rng(0).normal(size=(100, 2))
y = np.zeros(100)

flow = RelativeGradientFlow(2, activation=SmoothLeakyReLU(alpha=0.1), random_state=0)
assert_type(flow.fit(X), RelativeGradientFlow)
assert_type(flow.fit(X, y), RelativeGradientFlow)
assert_type(flow.fit(X, sample_weight=np.ones(100)), RelativeGradientFlow)
assert_type(flow.partial_fit(X, y), RelativeGradientFlow)
assert_type(flow.score(X, y), float)
assert_type(flow.flow_, Flow)
assert_type(flow.n_layers_, int)
assert_type(flow.learning_rate_, float)
log_density = flow.score_samples(X)
total = float(log_density.sum()) + float(flow.sample(3, random_state=0).sum())
latents = flow.fit_transform(X)
back = flow.inverse_transform(flow.transform(X))

mixture = RelativeGradientFlow(base_distribution=NormalMixture(4))
heavy = RelativeGradientFlow(base_distribution=StudentT())
laplace = RelativeGradientFlow(base_distribution=torch.distributions.Laplace(0.0, 1.0))


class Asinh(Bijection):
    """A bijection of one's own."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.asinh(x), -0.5 * torch.log1p(x.square()).sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sinh(y), torch.log(torch.cosh(y)).sum(-1)


def bijections(n_rows: int, n_features: int, **settings: Any) -> list[Bijection]:
    usual = default_bijections(n_rows, n_features, **settings)
    return [Asinh(), ElementwiseSpline(n_features), *usual]


own = RelativeGradientFlow(bijections=bijections).fit(X)
search = GridSearchCV(RelativeGradientFlow(), {"n_layers": [1, 2]}).fit(X)
detector = FlowOutlierDetector(flow, contamination=0.05)
assert_type(detector.fit(X, y), FlowOutlierDetector)
labels = detector.fit_predict(X, y)
p_values = detector.p_values(X)
ensemble = DensityEnsemble([("flow", flow), ("heavy", heavy)], weights=[1, 2])
assert_type(ensemble.fit(X, groups=y), DensityEnsemble)
assert_type(ensemble.score(X), float)
uniform = DensityEnsemble(weights="uniform").fit(X).sample(3, random_state=0)
logit = LogitTransformer(0, np.inf).fit(np.abs(X))
assert_type(energy_distance(X, back), float)
original = score_samples_in_original_units(search, X)
samples = sample_in_original_units(search, 10, random_state=0)
monitor = skflow.callbacks.LogLikelihoodMonitor(X_val=X)
z = own.flow_.sample(3, generator=torch.Generator())
distribution = own.flow_.as_distribution()
table = TableFlow({"angle": Periodic(360)}, max_iter=5).fit(X)
assert_type(table, TableFlow)
assert_type(float(table.score_samples(X).sum()), float)
log_prob, error = table.score_samples(X, return_error=True)
filled = FlowImputer(table, strategy="sample").fit_transform(X)
assert_type(FlowClassifier(table).fit(X, y), FlowClassifier)
