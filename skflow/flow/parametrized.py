"""Parameters of a constructor that can be read and set, as scikit-learn's searches do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Self

from skflow.flow.described import argument_names

__all__ = ["Parametrized"]


class Parametrized:
    """What keeps the arguments of its constructor as attributes of the same names.

    They can then be searched: ``base_distribution__n_components`` is that of the parameter
    ``base_distribution`` of an estimator. :func:`sklearn.base.clone` makes a new object of them,
    which knows nothing of any data. Arguments that are not kept cannot be searched, and an
    object that has such is copied as it is.

    Examples
    --------
    >>> from skflow import LeakyTanh
    >>> activation = LeakyTanh(beta=0.2)
    >>> activation.get_params()
    {'alpha': 1.0, 'beta': 0.2}
    >>> activation.set_params(alpha=2.0)
    LeakyTanh(alpha=2.0, beta=0.2)
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return those of parameters as well, as ``name__parameter``.

        Returns
        -------
        params : dict
            The values by their names.
        """
        kept = [name for name in argument_names(type(self)) if hasattr(self, name)]
        params = {name: getattr(self, name) for name in kept}
        if deep:
            for name, value in list(params.items()):
                if isinstance(value, Parametrized):
                    inner = value.get_params()
                    params |= {f"{name}__{key}": entry for key, entry in inner.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor, and start anew with them.

        What was learned is forgotten, since it may belong to other parameters.

        Parameters
        ----------
        **params : dict
            The values by their names, those of parameters as ``name__parameter``.

        Returns
        -------
        self : object
            This object.

        Raises
        ------
        ValueError
            If there is no parameter of a name, or if the constructor refuses a value. The object
            is then what it was, but for parameters of parameters.
        """
        if not params:
            return self
        known = self.get_params(deep=False)
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, _, rest = key.partition("__")
            if name not in known:
                names = ", ".join(known) if known else "none"
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}. It has: {names}."
                )
            if rest:
                nested.setdefault(name, {})[rest] = value
            else:
                known[name] = value
        for name, inner in nested.items():
            known[name].set_params(**inner)
        fresh = type(self)(**known)
        self.__dict__.clear()
        self.__dict__.update(fresh.__dict__)
        return self

    def __sklearn_clone__(self) -> Self:
        params = self.get_params(deep=False)
        if len(params) < len(argument_names(type(self))):
            return deepcopy(self)
        return type(self)(**deepcopy(params))
