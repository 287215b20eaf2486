"""Compiled objects of scikit-learn in model files: trees of forests, of neighbours, and losses.

What they hold is looked at before they are used, as they believe all of it: a node whose child is
node 10,000 of 100 makes them read where nothing is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn._loss import _loss
from sklearn.base import BaseEstimator
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree

from skflow.exceptions import FileFormatError
from skflow.storage.encoding import Decoder, Encoder

__all__ = ["TREE_KINDS", "check_trees", "described_tree"]

_LEAF = -1
_METRICS = {
    "EuclideanDistance": "euclidean",
    "ManhattanDistance": "manhattan",
    "ChebyshevDistance": "chebyshev",
}


def described_tree(encoder: Encoder, value: Any, where: str) -> dict[str, Any] | None:
    """Return a description of a compiled object, or None if it is none.

    Parameters
    ----------
    encoder : Encoder
        What describes its parts.
    value : object
        What to describe.
    where : str
        What it is called in error messages.

    Raises
    ------
    TypeError
        If it is one of neighbours by a metric of other parameters.
    """
    cls = type(value)
    if cls is Tree:
        _, arguments, state = value.__reduce__()
        return {"tree": encoder.encode([list(arguments), state], where)}
    if cls in (KDTree, BallTree):
        data, *_, leaf_size, _, _, _, _, _, _, metric, weights = value.__getstate__()
        name = _METRICS.get(type(metric).__name__.rstrip("0123456789"))
        if name is None:
            raise TypeError(f"{where} has a metric that only a pickle can keep.")
        parts = [cls.__name__, np.asarray(data), leaf_size, name, weights]
        return {"neighbours": encoder.encode(parts, where)}
    if cls.__module__ == _loss.__name__:
        maker, arguments, *_ = value.__reduce__()
        return {"loss": [cls.__name__, list(arguments) if maker is cls else []]}
    return None


def check_trees(estimator: Any) -> None:
    """Refuse an estimator whose trees look at columns, nodes or categories that are not there.

    Parameters
    ----------
    estimator : object
        Of scikit-learn, or none at all.

    Raises
    ------
    FileFormatError
        If its trees do.
    """
    if isinstance(estimator, BaseEstimator):
        members = np.ravel(np.array(getattr(estimator, "estimators_", []), dtype=object))
        for tree in [getattr(member, "tree_", None) for member in [estimator, *members]]:
            if isinstance(tree, Tree) and tree.n_features > estimator.n_features_in_:
                raise FileFormatError("A tree looks at columns that are not there.")
        for predictors in getattr(estimator, "_predictors", []):
            for predictor in predictors:
                _check_predictor(predictor, estimator)


def _check_predictor(predictor: Any, estimator: Any) -> None:
    """Refuse a tree of boosted trees that leads out of itself."""
    nodes = predictor.nodes
    numbers = np.flatnonzero(nodes["is_leaf"] == 0)
    inner = nodes[numbers]
    left, right = inner["left"].astype(np.int64), inner["right"].astype(np.int64)
    _check_children(len(nodes), numbers, left, right)
    n_features, features = estimator.n_features_in_, inner["feature_idx"]
    if not ((features >= 0) & (features < n_features)).all():
        raise FileFormatError("A tree looks at columns that are not there.")
    by_category = inner[inner["is_categorical"] != 0]
    if len(by_category):
        has_categories = np.zeros(n_features, bool)
        has_categories[:] = estimator._bin_mapper.is_categorical_
        sets = predictor.raw_left_cat_bitsets
        is_there = by_category["bitset_idx"] < len(sets)
        if not (has_categories[by_category["feature_idx"]] & is_there).all() or sets.shape[1] != 8:
            raise FileFormatError("A tree refers to categories that are not there.")


def _check_children(
    n_nodes: int, numbers: NDArray[Any], left: NDArray[Any], right: NDArray[Any]
) -> None:
    """Refuse nodes whose children do not come after themselves."""
    for child in (left, right):
        if not ((child > numbers) & (child < n_nodes)).all():
            raise FileFormatError("A node of a tree has a child that is not there.")


def _tree(decoder: Decoder, value: Any, number: int) -> Tree:
    (n_features, n_classes, n_outputs), state = decoder.decode(value)
    nodes, count = state["nodes"], state["node_count"]
    if len(n_classes) != n_outputs or not len(nodes) == len(state["values"]) == count > 0:
        raise FileFormatError("A tree has not as many nodes as it says.")
    left, right = nodes["left_child"], nodes["right_child"]
    inner = np.flatnonzero(left != _LEAF)
    _check_children(count, inner, left[inner], right[inner])
    feature = nodes["feature"][inner]
    if not ((feature >= 0) & (feature < n_features)).all():
        raise FileFormatError("A tree looks at columns that are not there.")
    tree = Tree(n_features, n_classes, n_outputs)
    tree.__setstate__(state)
    return tree


def _neighbours(decoder: Decoder, value: Any, number: int) -> Any:
    name, data, leaf_size, metric, weights = decoder.decode(value)
    cls = {"KDTree": KDTree, "BallTree": BallTree}[name]
    return cls(data, leaf_size=leaf_size, metric=metric, sample_weight=weights)


def _loss_of(decoder: Decoder, value: Any, number: int) -> Any:
    name, arguments = value
    cls = getattr(_loss, name)
    if not (isinstance(cls, type) and cls.__module__ == _loss.__name__):
        raise FileFormatError(f"{name[:40]} is no loss.")
    return cls(*map(float, arguments))


TREE_KINDS = {"tree": _tree, "neighbours": _neighbours, "loss": _loss_of}
"""What makes each kind, for :attr:`Decoder.kinds`."""
