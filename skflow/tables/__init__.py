"""Densities of tables whose columns are of several kinds."""

from skflow.tables.bounded import Bounded
from skflow.tables.categorical import Categorical
from skflow.tables.classifier import FlowClassifier
from skflow.tables.column import Column
from skflow.tables.continuous import Continuous
from skflow.tables.count import Count
from skflow.tables.flow import TableFlow
from skflow.tables.imputer import FlowImputer
from skflow.tables.inflated import Inflated
from skflow.tables.marginal import TableMarginal
from skflow.tables.periodic import Periodic

__all__ = [
    "Bounded",
    "Categorical",
    "Column",
    "Continuous",
    "Count",
    "FlowClassifier",
    "FlowImputer",
    "Inflated",
    "Periodic",
    "TableFlow",
    "TableMarginal",
]
