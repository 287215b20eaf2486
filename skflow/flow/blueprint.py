"""What a flow is made of, as plain data."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from skflow.flow.base import BaseDistribution
from skflow.flow.bijection import Bijection
from skflow.flow.described import Described
from skflow.flow.network import Flow

__all__ = ["Blueprint"]

Part = dict[str, Any]


@dataclass(frozen=True)
class Blueprint:
    """The structure of a flow, to compare it, to write it down and to build it again.

    It has the classes of the parts and the arguments of their constructors, and no weights: with
    the state dict of the flow, it is the whole flow.

    Attributes
    ----------
    n_features : int
        The number D of features.
    bijections : list of dict
        A description of each.
    base : dict
        That of the base distribution.

    Examples
    --------
    >>> from skflow.flow import Blueprint, Flow, LinearStack, Normal
    >>> flow = Flow([LinearStack(2, 3)], Normal(), n_features=3)
    >>> blueprint = Blueprint.of(flow)
    >>> blueprint.bijections[0]["class"]
    'LinearStack'
    >>> twin = Blueprint.from_json(blueprint.to_json()).build()
    >>> Blueprint.of(twin) == blueprint
    True
    >>> twin.load_state_dict(flow.state_dict())
    <All keys matched successfully>
    """

    n_features: int
    bijections: list[Part]
    base: Part

    @classmethod
    def of(cls, flow: Flow) -> Blueprint:
        """Describe a flow.

        Parameters
        ----------
        flow : Flow
            The flow.

        Returns
        -------
        blueprint : Blueprint
            What is no part of skflow, nor plain data, is described by its ``repr``.
        """
        bijections = [_described(bijection) for bijection in flow.bijections]
        return cls(flow.n_features, bijections, _described(flow.base))

    def build(self, classes: Mapping[str, type[Described]] | None = None) -> Flow:
        """Make a flow of this structure, with the weights that its constructors give.

        Parameters
        ----------
        classes : mapping or None, default=None
            Classes of parts that are not skflow's own, by the names that the description has.
            Nothing is imported.

        Returns
        -------
        flow : Flow
            A new one.

        Raises
        ------
        ValueError
            If a class is not known, or if a part cannot be made from plain data.
        """
        known = _known_classes() | dict(classes or {})
        bijections = [_built(part, known) for part in self.bijections]
        flow = Flow(bijections, _built(self.base, known), n_features=self.n_features)
        if "dtype" in self.base:  # its parameters may be no older than the flow
            flow.base.to(getattr(torch, self.base["dtype"]))
        return flow

    def differences(self, other: Blueprint) -> list[str]:
        """Say in which parts another flow differs.

        Parameters
        ----------
        other : Blueprint
            The structure of the other one.

        Returns
        -------
        differences : list of str
            A line for each part. Empty if there is none.
        """
        return [
            f"{name}: {_shown(mine)} instead of {_shown(theirs)}"
            for name, mine, theirs in self._pairs(other)
            if mine != theirs
        ]

    def to_json(self) -> str:
        """Return the description as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Blueprint:
        """Read what :meth:`to_json` wrote.

        Parameters
        ----------
        text : str
            The JSON.
        """
        return cls(**json.loads(text))

    def _pairs(self, other: Blueprint) -> Iterator[tuple[str, Any, Any]]:
        yield "n_features", self.n_features, other.n_features
        pairs = itertools.zip_longest(self.bijections, other.bijections, fillvalue="nothing")
        for k, (mine, theirs) in enumerate(pairs):
            yield f"bijections[{k}]", mine, theirs
        yield "base", self.base, other.base


def _described(part: Described) -> Part:
    cls = type(part)
    own = cls.__module__.startswith("skflow.flow.")
    described: Part = {
        "class": cls.__qualname__ if own else f"{cls.__module__}.{cls.__qualname__}",
        "arguments": {name: _plain(value) for name, value in part.arguments().items()},
    }
    if isinstance(part, nn.Module):
        dtypes = {parameter.dtype for parameter in part.parameters()}
        if len(dtypes) == 1:  # else the constructor knows best
            described["dtype"] = str(dtypes.pop()).removeprefix("torch.")
    return described


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Described):
        return _described(value)
    if isinstance(value, list | tuple | nn.ModuleList):
        return [_plain(entry) for entry in value]
    return {"repr": repr(value)}


def _built(part: Part, known: Mapping[str, type[Described]]) -> Any:
    name = part["class"]
    if name not in known:
        raise ValueError(
            f"{name} is none of skflow's own classes. Pass it as classes={{{name!r}: the class}}."
        )
    arguments = {key: _value(value, known, name) for key, value in part["arguments"].items()}
    made: Any = known[name].from_arguments(**arguments)
    return made.to(getattr(torch, part["dtype"])) if "dtype" in part else made


def _value(value: Any, known: Mapping[str, type[Described]], owner: str) -> Any:
    if isinstance(value, list):
        return [_value(entry, known, owner) for entry in value]
    if not isinstance(value, dict):
        return value
    if "repr" in value:
        raise ValueError(
            f"{owner} cannot be built from plain data: it has an argument {value['repr']}."
        )
    return _built(value, known)


def _shown(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    if "repr" in part:
        return str(part["repr"])
    arguments = [f"{name}={_shown(value)}" for name, value in part["arguments"].items()]
    if "dtype" in part:
        arguments.append(f"dtype={part['dtype']}")
    return f"{part['class']}({', '.join(arguments)})"


def _known_classes() -> dict[str, type[Described]]:
    """Return skflow's own parts by their names."""
    found: dict[str, type[Described]] = {}
    waiting: list[type[Described]] = [Bijection, BaseDistribution]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("skflow.flow.") and not inspect.isabstract(cls):
            found[cls.__qualname__] = cls
    return found
