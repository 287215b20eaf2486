"""Calls of the public interface that are as they should be: subjects, methods and arguments."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import (
    ConditionalFlow,
    DensityEnsemble,
    DensityRatio,
    FlowClassifier,
    FlowImputer,
    FlowOutlierDetector,
    LogarithmicPool,
    RelativeGradientFlow,
    TableFlow,
    datasets,
    default_bijections,
    metrics,
    preprocessing,
    tables,
)

__all__ = ["Call", "all_calls", "subject"]


class Call(NamedTuple):
    """A call that is as it should be."""

    name: str
    subject: str
    """What it is a method of, by its name in `SUBJECTS`; empty for a function."""

    function: Any
    """The method's name, or the function."""

    arguments: dict[str, tuple[str, Any]]
    """By their names, each with its kind."""

    holes: bool = False
    """Whether NaN may stand in what is returned, as documented."""


_rng = np.random.default_rng(0)
X = _rng.normal(size=(14, 2))
Y = _rng.normal(size=(12, 2))
WIDE = np.c_[X, _rng.normal(size=14)]
TARGET = X[:, 0] + _rng.normal(size=14)
WEIGHTS = _rng.uniform(0.5, 2, 14)
GROUPS = (np.arange(14) // 2).astype(float)
LABELS = (np.arange(14) % 2).astype(float)
FRAME = pd.DataFrame(
    {
        "a": WIDE[:, 0].repeat(2),
        "b": ["x", "y", "z", "y"] * 7,
        "c": np.arange(28) % 5,
        "d": _rng.normal(size=28),
    }
)
HOLES = FRAME.mask(_rng.random(FRAME.shape) < 0.2)[:6]


def _flow(**parameters):
    return RelativeGradientFlow(2, max_iter=1, random_state=0, **parameters)


def _conditional(**parameters):
    parameters = {"n_layers": 1, "n_trees": 2, "max_iter": 1, "random_state": 0} | parameters
    return ConditionalFlow(**parameters)


def _table():
    return TableFlow(n_particles=5, max_iter=1, random_state=0)


def _members():
    return [("mixture", GaussianMixture(random_state=0)), ("flow", _flow(early_stopping=False))]


# What has methods, by a name; "new" ones are not fitted.
SUBJECTS: dict[str, Callable[[], Any]] = {
    "new RelativeGradientFlow": lambda: _flow(early_stopping=False),
    "new RelativeGradientFlow, early stopping": _flow,
    "RelativeGradientFlow": lambda: _flow().fit(X),
    "RelativeGradientFlow, warm start": lambda: _flow(warm_start=True).fit(X),
    "RelativeGradientFlow of float32": lambda: _flow().fit(X.astype("f4")),
    "RelativeGradientFlow of a frame": lambda: _flow().fit(FRAME[["a", "d"]]),
    "RelativeGradientFlow of frames": lambda: (
        _flow().set_output(transform="pandas").fit(FRAME[["a", "d"]])
    ),
    "new ConditionalFlow": _conditional,
    "ConditionalFlow": lambda: _conditional().fit(X, TARGET),
    "ConditionalFlow of two targets": lambda: _conditional().fit(X, Y[:, :2].repeat(2, 0)[:14]),
    "ConditionalFlow of a frame": lambda: _conditional(cv=3).fit(FRAME[["a", "b", "c"]], FRAME.d),
    "new FlowOutlierDetector": lambda: FlowOutlierDetector(
        GaussianMixture(random_state=0), cv=3, random_state=0
    ),
    "FlowOutlierDetector": lambda: FlowOutlierDetector(
        _flow(), contamination=0.2, cv=3, random_state=0
    ).fit(X),
    "FlowOutlierDetector of a frame": lambda: FlowOutlierDetector(
        _table(), contamination=0.2, cv=3, random_state=0
    ).fit(FRAME[["a", "b"]]),
    "new DensityEnsemble": lambda: DensityEnsemble(_members(), cv=2, random_state=0),
    "DensityEnsemble": lambda: DensityEnsemble(_members(), cv=2, random_state=0).fit(X),
    "new DensityRatio": lambda: DensityRatio(random_state=0),
    "DensityRatio": lambda: DensityRatio(random_state=0).fit(X, Y),
    "DensityRatio of densities": lambda: DensityRatio(GaussianMixture()).fit(X, Y),
    "DensityRatio of frames": lambda: DensityRatio(random_state=0).fit(FRAME, FRAME[::-1]),
    "new LogarithmicPool": lambda: LogarithmicPool(GaussianMixture()),
    "LogarithmicPool": lambda: LogarithmicPool(_flow()).fit(X),
    "new FlowClassifier": lambda: FlowClassifier(GaussianMixture(), cv=None, random_state=0),
    "FlowClassifier": lambda: FlowClassifier(_flow(), cv=2, random_state=0).fit(X, LABELS),
    "FlowClassifier of a frame": lambda: FlowClassifier(
        TableFlow(max_iter=1, n_particles=5), cv=None, random_state=0
    ).fit(FRAME[["a", "b"]], list("uv") * 14),
    "new TableFlow": _table,
    "TableFlow": lambda: _table().fit(FRAME),
    "TableFlow of an array": lambda: _table().fit(WIDE),
    "TableMarginal": lambda: _table().fit(FRAME).marginal(["d", "b"]),
    "new FlowImputer": lambda: FlowImputer(_table(), random_state=0),
    "FlowImputer": lambda: FlowImputer(_table(), strategy="sample", random_state=0).fit(FRAME),
    "new DequantizationTransformer": lambda: preprocessing.DequantizationTransformer(
        random_state=0
    ),
    "DequantizationTransformer": lambda: preprocessing.DequantizationTransformer(
        0.5, random_state=0
    ).fit(np.round(X)),
    "new LogitTransformer": lambda: preprocessing.LogitTransformer(-9, 9),
    "LogitTransformer": lambda: preprocessing.LogitTransformer(-9, 9).fit(X),
    "pipeline": lambda: make_pipeline(StandardScaler(), _flow()).fit(X),
    "Checkerboard": datasets.Checkerboard,
    "Pinwheel": datasets.Pinwheel,
    "ToyDensity": datasets.half_moons,
    "UnivariateNormalMixture": lambda: datasets.marron_wand(3),
}


@cache
def _pickled(name: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few rows
        return pickle.dumps(SUBJECTS[name]())


def subject(name: str) -> Any:
    """Return what a method is called of, as new.

    Parameters
    ----------
    name : str
        Of `SUBJECTS`.
    """
    return pickle.loads(_pickled(name))


_N, _SEED = ("count", 3), ("seed", 0)
_DRAWS = {"n_samples": _N, "random_state": _SEED}


def _each(names, value):
    """Return the same value under several names."""
    return {name: value for name in names}  # noqa: RUF100, C420


def _methods(name, by_method, holes=()):
    """Return calls of a subject's methods, by the kinds of their arguments."""
    return [
        Call(f"{name.split(',')[0]}.{method}", name, method, arguments, method in holes)
        for method, arguments in by_method.items()
    ]


def _fits(name, arguments, *methods):
    return _methods(name, _each(methods or ("fit",), arguments))


def _density(name, rows, *methods):
    """Return calls of what scores and draws rows."""
    return _methods(name, _each(methods, {"X": rows}) | {"sample": _DRAWS})


def _of_flows():
    rows = ("array", X)
    weighted = {"X": rows, "sample_weight": ("array", WEIGHTS)}
    grouped = weighted | {"groups": ("array", GROUPS)}
    calls = [
        *_fits("new RelativeGradientFlow", weighted, "fit", "partial_fit", "fit_transform"),
        *_fits("new RelativeGradientFlow, early stopping", grouped),
        *_fits("RelativeGradientFlow, warm start", weighted, "fit", "partial_fit"),
        *_fits("RelativeGradientFlow", {"X": rows}, "fit", "partial_fit"),
    ]
    methods = ("score_samples", "transform", "inverse_transform", "log_abs_det_jacobian", "score")
    frame = ("frame", FRAME[["a", "d"]])
    return [
        *calls,
        *_density("RelativeGradientFlow", rows, *methods),
        *_density("RelativeGradientFlow of float32", ("array", X.astype("f4")), *methods),
        *_density("RelativeGradientFlow of a frame", frame, *methods),
        *_density("RelativeGradientFlow of frames", frame, *methods),
        *_methods("RelativeGradientFlow", {"score": weighted}),
        *_methods("new RelativeGradientFlow", {"score_samples": {"X": rows}, "sample": _DRAWS}),
    ]


def _of_conditionals():
    rows, target = ("array", X), ("array", TARGET)
    both = {"X": rows, "y": target}
    weighted = both | {"sample_weight": ("array", WEIGHTS)}
    given_rows = {
        **_each(("score_samples", "to_latents", "cdf"), both),
        **_each(("predict", "predict_std"), {"X": rows}),
        "score": weighted,
        "from_latents": {"X": rows, "Z": target},
        "sample": {"X": rows, **_DRAWS},
        "predict_quantiles": {"X": rows, "q": ("number", [0.1, 0.9])},
        "predict_interval": {"X": rows, "coverage": ("number", 0.8)},
    }
    frame, of_frame = ("frame", FRAME[["a", "b", "c"]]), ("array", FRAME.d.to_numpy())
    several = ("array", Y[:, :2].repeat(2, 0)[:14])
    return [
        *_fits("new ConditionalFlow", weighted, "fit", "partial_fit"),
        *_fits("new ConditionalFlow", {"X": frame, "y": of_frame}),
        *_fits("ConditionalFlow", both, "fit", "partial_fit"),
        *_methods("ConditionalFlow", given_rows),
        *_methods(
            "ConditionalFlow of two targets",
            {
                **_each(("score_samples", "to_latents"), {"X": rows, "y": several}),
                "predict": {"X": rows},
                "sample": {"X": rows, **_DRAWS},
            },
        ),
        *_methods(
            "ConditionalFlow of a frame",
            {
                "score_samples": {"X": frame, "y": of_frame},
                "predict": {"X": frame},
                "predict_interval": {"X": frame, "coverage": ("number", 0.8)},
                "sample": {"X": frame, **_DRAWS},
            },
        ),
    ]


def _of_several():
    rows, frame = ("array", X), ("frame", FRAME[["a", "b"]])
    weighted = {"X": rows, "sample_weight": ("array", WEIGHTS)}
    scores = ("score_samples", "decision_function", "predict", "p_values", "explain")
    labels = {"X": rows, "y": ("array", LABELS)}
    classes = ("score_samples", "predict", "predict_proba", "predict_log_proba")
    both = {"X": rows, "Y": ("array", Y)}
    detector = {"X": rows, "groups": ("array", GROUPS)}
    return [
        *_fits("new FlowOutlierDetector", detector, "fit", "fit_predict"),
        *_fits("FlowOutlierDetector", {"X": rows}),
        *_methods("FlowOutlierDetector", _each(scores, {"X": rows})),
        *_methods("FlowOutlierDetector of a frame", _each(scores, {"X": frame})),
        *_fits("new DensityEnsemble", weighted | {"groups": ("array", GROUPS)}),
        *_density("DensityEnsemble", rows, "score_samples", "score"),
        *_fits("new DensityRatio", both),
        *_methods("DensityRatio", {"score_samples": {"X": rows}}),
        *_methods("DensityRatio of densities", {"score_samples": {"X": rows}}, ["score_samples"]),
        *_methods("DensityRatio of frames", {"score_samples": {"X": ("frame", FRAME)}}),
        *_fits("new LogarithmicPool", {"X": rows}),
        *_methods("LogarithmicPool", {"score_samples": {"X": rows}, "fit": {"X": rows}}),
        *_fits("new FlowClassifier", labels),
        *_methods("FlowClassifier", _each((*classes, "p_values"), {"X": rows})),
        *_methods("FlowClassifier", {"score": labels}),
        *_methods("FlowClassifier of a frame", _each(classes, {"X": frame})),
    ]


def _of_tables():
    holes = ("frame", HOLES)
    scored = _each(("score_samples", "score", "has_mass"), {"X": holes})
    rows = ("array", WIDE)
    given = {"X": holes, **_DRAWS}
    drawn = _each(("sample",), _DRAWS)
    whole = _each(("score_samples", "score", "has_mass", "impute"), {"X": rows})
    return [
        *_fits("new TableFlow", {"X": ("frame", FRAME[["a", "b"]])}),
        *_fits("new TableFlow", {"X": rows, "sample_weight": ("array", WEIGHTS)}),
        *_methods("TableFlow", scored | drawn | {"sample_given": given}, ["sample"]),
        *_methods("TableFlow", {"impute": {"X": holes, "strategy": ("text", "mean")}}),
        *_methods("TableFlow", {"marginal": {"columns": ("names", ["a", "b"])}}),
        *_methods("TableFlow of an array", whole | drawn, ["sample"]),
        *_methods("TableFlow of an array", {"marginal": {"columns": ("names", [0, 1])}}),
        *_methods("TableMarginal", {"score_samples": {"X": ("frame", HOLES[["d", "b"]])}} | drawn),
        *_fits("new FlowImputer", {"X": ("frame", FRAME[["a", "b"]])}),
        *_methods("FlowImputer", {"transform": {"X": holes}}),
    ]


def _of_preprocessing():
    rows, whole = ("array", X), ("array", np.round(X))
    transforms = ("transform", "inverse_transform", "log_abs_det_jacobian")
    return [
        *_fits("new DequantizationTransformer", {"X": whole}, "fit", "fit_transform"),
        *_methods("DequantizationTransformer", _each(transforms, {"X": whole})),
        *_fits("new LogitTransformer", {"X": rows}, "fit", "fit_transform"),
        *_methods("LogitTransformer", _each(transforms, {"X": rows})),
        *_function(
            preprocessing.log_abs_det_jacobian,
            transformer=("estimator", "LogitTransformer"),
            X=rows,
        ),
        *_function(
            preprocessing.score_samples_in_original_units,
            estimator=("estimator", "pipeline"),
            X=rows,
        ),
        *_function(
            preprocessing.score_in_original_units, estimator=("estimator", "pipeline"), X=rows
        ),
        *_function(
            preprocessing.sample_in_original_units, estimator=("estimator", "pipeline"), **_DRAWS
        ),
    ]


def _function(function, **arguments):
    """Return a call of a function, whose estimators are named by their subjects."""
    return [
        Call(f"{function.__module__.split('.')[1]}.{function.__name__}", "", function, arguments)
    ]


def _of_metrics():
    rows, target = ("array", X), ("array", TARGET)
    both = {"X": rows, "Y": ("array", Y), "random_state": _SEED}
    flow, conditional = ("estimator", "RelativeGradientFlow"), ("estimator", "ConditionalFlow")
    draws = {"n_samples": ("count", 20), "random_state": _SEED}
    judged = {"estimator": conditional, "X": rows, "y": target}
    samples = ("array", np.sort(_rng.normal(size=(14, 5))))
    frames = {"X": ("frame", FRAME), "Y": ("frame", FRAME[::2])}
    three = {"synthetic": rows, "fitted": ("array", Y), "held_out": ("array", Y + 1)}
    levels, weights = ("number", [0.5, 0.9]), ("array", WEIGHTS)
    intervals = ("array", np.c_[TARGET - 1, TARGET + 1])
    return [
        *_function(metrics.classifier_two_sample_test, **both, n_folds=("count", 2)),
        *_function(metrics.drift, **both, n_folds=("count", 2)),
        *_function(metrics.drift, **frames, n_folds=("count", 2)),
        *_function(metrics.energy_distance, X=rows, Y=("array", Y)),
        *_function(metrics.energy_two_sample_test, **both, n_permutations=("count", 5)),
        *_function(metrics.nearest_row_test, **three, random_state=_SEED),
        *_function(metrics.entropy, estimator=flow, **draws),
        *_function(metrics.kl_divergence, p=flow, q=("estimator", "pipeline"), **draws),
        *_function(metrics.mutual_information, estimator=flow, first=("names", [0]), **draws),
        *_function(
            metrics.highest_density_coverage, estimator=flow, X=rows, levels=levels, **draws
        ),
        *_function(metrics.crps, y_true=target, samples=samples, sample_weight=weights),
        *_function(metrics.probability_integral_transform, **judged, sample_weight=weights),
        *_function(metrics.interval_coverage, **judged, levels=levels, sample_weight=weights),
        *_function(
            metrics.IntervalCoverage.from_predictions,
            y_true=target,
            intervals=intervals,
            levels=("number", [0.5]),
        ),
    ]


def _of_datasets():
    noise = {"noise": ("number", 0.1)}
    plane = [datasets.half_moons, datasets.rings, datasets.sine, datasets.two_spirals]
    mixture = _each(("weights", "means", "scales"), ("array", np.full(2, 0.5)))
    calls = [call for function in plane for call in _function(function, **noise)]
    for name in ("Checkerboard", "Pinwheel", "ToyDensity", "UnivariateNormalMixture"):
        of_name = ("array", X[:, :1] if name == "UnivariateNormalMixture" else X)
        calls += _density(name, of_name, "score_samples", "score")
    return [
        *calls,
        *_function(datasets.gaussian_grid, n_per_side=_N, spacing=("number", 1.0), **noise),
        *_function(datasets.gaussian_ring, n_components=_N, radius=("number", 1.0), **noise),
        *_function(datasets.marron_wand, number=_N),
        *_function(datasets.UnivariateNormalMixture, **mixture),
        *_function(datasets.ToyDensity, centres=("array", X), **noise),
        *_function(default_bijections, n_rows=("count", 99), n_features=_N, n_layers=("count", 2)),
        *_function(tables.Bounded, low=("number", 0.0), high=("number", 1.0)),
    ]


def all_calls() -> list[Call]:
    """Return calls of every public entry point that neither draws figures nor is a parameter."""
    return [
        *_of_flows(),
        *_of_conditionals(),
        *_of_several(),
        *_of_tables(),
        *_of_preprocessing(),
        *_of_metrics(),
        *_of_datasets(),
    ]
