"""Parts of a flow that say which arguments make them."""

from __future__ import annotations

import inspect
from typing import Any, Self

__all__ = ["Described", "argument_names"]


def argument_names(cls: type) -> list[str]:
    """Return the names of the arguments of a constructor, the variadic ones left out.

    Parameters
    ----------
    cls : type
        The class.
    """
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(cls).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind not in variadic]


class Described:
    """What a constructor makes again from plain data, but for its parameters and buffers.

    By default, the arguments are the attributes of their names. A class whose attributes say
    something else overrides :meth:`arguments`.
    """

    def arguments(self) -> dict[str, Any]:
        """Return what :meth:`from_arguments` takes to make an object of the same structure.

        The precision of the parameters is not among them.

        Returns
        -------
        arguments : dict
            Numbers, strings, None, other parts of a flow, and lists of these. An argument that
            is anything else can be compared and not made again.
        """
        names = [name for name in argument_names(type(self)) if name != "dtype"]
        return {name: getattr(self, name, None) for name in names}

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Self:
        """Make an object of the structure that :meth:`arguments` gave.

        Parameters
        ----------
        **arguments : dict
            What it returned.
        """
        return cls(**arguments)
