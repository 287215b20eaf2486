"""The mathematics of the flow, in PyTorch alone."""

from skflow.flow.activations import Activation, LeakyTanh, SmoothLeakyReLU
from skflow.flow.adapted import AdaptedDistribution, DistributionLike
from skflow.flow.base import BaseDistribution, HyperbolicSecant, Logistic, Normal
from skflow.flow.bijection import Bijection
from skflow.flow.block_diagonal import BlockDiagonal
from skflow.flow.blueprint import Blueprint
from skflow.flow.components import Components, fit_components
from skflow.flow.composition import Composition
from skflow.flow.couplings import AffineCoupling, Coupling, SplineCoupling
from skflow.flow.distribution import FlowDistribution
from skflow.flow.elementwise import ElementwiseSpline
from skflow.flow.export import LogDensity
from skflow.flow.given import Bound, Given, GivenBase, GivenLinear, Leading
from skflow.flow.latent_tails import LatentTails
from skflow.flow.linear import LinearStack
from skflow.flow.logarithm import SoftLogarithm
from skflow.flow.mixture import NormalMixture
from skflow.flow.mixture_map import NormalMixtureMap
from skflow.flow.network import Flow
from skflow.flow.relative import Factors, RelativeLayer
from skflow.flow.standardize import Standardize
from skflow.flow.student_t import StudentT
from skflow.flow.tails import LogTails

__all__ = [
    "Activation",
    "AdaptedDistribution",
    "AffineCoupling",
    "BaseDistribution",
    "Bijection",
    "BlockDiagonal",
    "Blueprint",
    "Bound",
    "Components",
    "Composition",
    "Coupling",
    "DistributionLike",
    "ElementwiseSpline",
    "Factors",
    "Flow",
    "FlowDistribution",
    "Given",
    "GivenBase",
    "GivenLinear",
    "HyperbolicSecant",
    "LatentTails",
    "Leading",
    "LeakyTanh",
    "LinearStack",
    "LogDensity",
    "LogTails",
    "Logistic",
    "Normal",
    "NormalMixture",
    "NormalMixtureMap",
    "RelativeLayer",
    "SmoothLeakyReLU",
    "SoftLogarithm",
    "SplineCoupling",
    "Standardize",
    "StudentT",
    "fit_components",
]
