"""Parts of a flow that say which arguments make them."""

from __future__ import annotations

import inspect
from typing import Any, Self

__all__ = ["Described"]


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
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        parameters = inspect.signature(type(self)).parameters.values()
        names = [p.name for p in parameters if p.kind not in variadic and p.name != "dtype"]
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
