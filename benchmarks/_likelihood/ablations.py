"""Our estimator with one thing changed at a time, through its public parameters."""

from skflow import LeakyTanh, SmoothLeakyReLU

from .contenders import skflow_contender

__all__ = ["DEFAULT", "VARIANTS"]

DEFAULT = "default"

# name: what is not the default. All have the default's budget of epochs and its stopping rule.
# The ordinary gradient is not among them: the estimator does not offer it.
VARIANTS = {
    DEFAULT: {},
    "start: orthogonal": {"init": "orthogonal"},
    "optimiser: Adam": {"optimizer": "adam"},
    "optimiser: plain descent": {"optimizer": "sgd"},
    "activation: leaky tanh, 0.1": {"activation": LeakyTanh(alpha=1.0, beta=0.1)},
    "activation: smooth leaky ReLU, 0.3": {"activation": SmoothLeakyReLU(alpha=0.3)},
    "coupling: none": {"coupling": None},
    "coupling: affine": {"coupling": "affine"},
    "coupling: spline": {"coupling": "spline"},
    "base: mixture": {"base_distribution": "mixture"},
    "base: Student's t": {"base_distribution": "student_t"},
    "base: hyperbolic secant": {"base_distribution": "hyperbolic_secant"},
    "bias: none": {"bias": False},
    "layers: 2": {"n_layers": 2},
    "layers: 10": {"n_layers": 10},
}


def contenders():
    return {name: skflow_contender(**parameters) for name, parameters in VARIANTS.items()}
