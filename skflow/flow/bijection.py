"""The contract of every bijection of R^D."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from skflow.flow.described import Described
from skflow.flow.operations import Operation

__all__ = ["Bijection", "Pullback", "add_gradient", "check_rows"]

Pullback = Callable[[Tensor, Tensor], Tensor | None]


class Bijection(Described, nn.Module, ABC):
    r"""A differentiable, invertible map of :math:`\mathbb{R}^D`, applied to each row.

    A subclass states :meth:`forward_and_log_det` and :meth:`inverse_and_log_det`. Both
    compute in the precision of their input, whatever that of the parameters. They need not
    check what they get: the methods of every subclass refuse all but rows, with a `ValueError`.

    Attributes
    ----------
    n_features : int or None
        The number D of columns that this bijection takes, which a subclass sets in its
        constructor. None, the default, for any.
    """

    n_features: int | None = None

    starts: ClassVar[tuple[str, ...]] = ()
    """What `start_from` may be set to, where :meth:`initialize` has more than one start to offer.
    A fit takes the likeliest."""

    start_from: str

    @property
    def can_be_neutral(self) -> bool:
        """Whether :meth:`start_neutral` does what it says. By default, it does not."""
        return False

    def start_neutral(self) -> None:
        """Let :meth:`initialize` make a map that leaves standard normal rows standard normal."""

    noun: ClassVar[str | None] = None
    """What a summary calls several of them; None if it is silent about them."""

    # Whether another bijection's automatic differentiation is taking this one's own pullback.
    _takes_part: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _METHODS:
            method = getattr(cls, name)
            if method is not getattr(Bijection, name) and not hasattr(method, "_checks_rows"):
                setattr(cls, name, _checking(method))

    @abstractmethod
    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map `x` and return :math:`\log|\det \partial y / \partial x|` beside it.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        y : Tensor of shape (N, D)
            The mapped rows.
        log_det : Tensor of shape (N,)
            In nats.
        """

    @abstractmethod
    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map `y` back and return :math:`\log|\det \partial x / \partial y|` beside it.

        Parameters
        ----------
        y : Tensor of shape (N, D)
            The rows to map back.

        Returns
        -------
        x : Tensor of shape (N, D)
            The rows before the map.
        log_det : Tensor of shape (N,)
            In nats: the negative of what :meth:`forward_and_log_det` gives at `x`.

        Raises
        ------
        InversionError
            If the inverse could not be found to working precision.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Map `x`, of shape (N, D).

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        """
        return self.forward_and_log_det(x)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """Map `y`, of shape (N, D), back.

        Parameters
        ----------
        y : Tensor of shape (N, D)
            The rows to map back.
        """
        return self.inverse_and_log_det(y)[0]

    def forward_and_pullback(
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        r"""Do what :meth:`forward_and_log_det` does, for a step of training.

        A bijection trained by the relative gradient leaves its :math:`\log|\det W|` out, and
        its pullback keeps the factors of the update. All others train by ordinary automatic
        differentiation, which this method does by default. Bijections inside this one that
        have a method of their own take part by that: dense layers anywhere train by the relative
        gradient.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        input_gradient : bool, default=True
            Whether the gradient with respect to `x` will be wanted.

        Returns
        -------
        y : Tensor of shape (N, D)
            The mapped rows.
        log_det : Tensor of shape (N,)
            In nats.
        pullback : callable
            Takes the gradients of a loss with respect to `y`, of shape (N, D), and to
            `log_det`, of shape (N,). Adds to the gradients of the parameters and returns the
            one with respect to `x`, or None if that is not wanted. To be called once.
        """
        check_rows(x, self.n_features, self)
        x = x.detach().requires_grad_(input_gradient)
        with torch.enable_grad(), _taking_part(self):
            y, log_det = self.forward_and_log_det(x)

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            pairs = ((y, grad_y), (log_det, grad_log_det))
            outputs = [output for output, _ in pairs if output.requires_grad]
            gradients = [gradient for output, gradient in pairs if output.requires_grad]
            if outputs:
                torch.autograd.backward(outputs, gradients)
            return x.grad

        return y.detach(), log_det.detach(), pullback

    def operation(self) -> Operation | None:
        """Return what compiled kernels do in place of this bijection, if they can do the same.

        By default, they cannot.

        Returns
        -------
        operation : Operation or None
            Its tensors are the parameters and buffers themselves.
        """
        return None

    def decaying_parameters(self) -> tuple[nn.Parameter, ...]:
        """Return the parameters that decay in training, those of parts excepted.

        By default, none does.
        """
        return ()

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Set the parameters from a sample of what will flow in.

        By default, the parameters stay what the constructor made them.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        check_rows(x, self.n_features, self)


def check_rows(x: object, n_features: int | None, owner: object) -> None:
    """Refuse what is not rows of so many floating-point numbers.

    Looks at the type and at the shape alone, and not at the number of rows. Cost: O(1).

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    n_features : int or None
        What D must be; None for any.
    owner : object
        What takes the rows. An error names its class.

    Raises
    ------
    ValueError
        If `x` is no tensor of floating-point numbers of this shape.
    """
    if (
        isinstance(x, Tensor)
        and x.ndim == 2
        and x.is_floating_point()
        and (n_features is None or x.shape[1] == n_features)
    ):
        return
    got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else repr(type(x))
    columns = "n_columns" if n_features is None else n_features
    raise ValueError(
        f"{type(owner).__name__} takes rows: a tensor of floating-point numbers of shape "
        f"(n_rows, {columns}). Got {got}. One row is x[None], and x.double() has the type."
    )


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to the gradient of a parameter, as automatic differentiation does.

    Parameters
    ----------
    parameter : Parameter
        Its ``grad`` is changed.
    gradient : Tensor
        Of the shape of the parameter.
    """
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


# Through which rows come in: the first argument of each.
_METHODS = (
    "forward_and_log_det",
    "inverse_and_log_det",
    "forward",
    "inverse",
    "forward_and_pullback",
    "initialize",
)


def _checking(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a bijection that looks at its first argument before."""
    name = method.__name__

    @wraps(method)
    def checked(self: Bijection, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else next(iter(kwargs.values()), None)
        check_rows(x, self.n_features, self)
        if self._takes_part and name in {"forward", "forward_and_log_det"}:
            anchor = torch.zeros((), requires_grad=True)
            y, log_det = _OwnPullback.apply(x, anchor, self)  # type: ignore[no-untyped-call]
            return y if name == "forward" else (y, log_det)
        return method(self, *args, **kwargs)

    checked._checks_rows = True  # type: ignore[attr-defined]
    return checked


@contextmanager
def _taking_part(whole: Bijection) -> Iterator[None]:
    """Let what is inside a bijection, and has a pullback of its own, be differentiated by that."""
    parts = [
        module
        for module in whole.modules()
        if isinstance(module, Bijection)
        and module is not whole
        and not module._takes_part
        and type(module).forward_and_pullback is not Bijection.forward_and_pullback
    ]
    for part in parts:
        part._takes_part = True
    try:
        yield
    finally:
        for part in parts:
            del part._takes_part


class _OwnPullback(torch.autograd.Function):
    """A bijection's own way forward and back, as an operation of automatic differentiation."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, anchor: Tensor, bijection: Bijection
    ) -> tuple[Tensor, Tensor]:
        # The anchor makes the results differentiable, even if nothing else does.
        ctx.dtype = x.dtype
        bijection._takes_part = False
        try:
            y, log_det, ctx.pullback = bijection.forward_and_pullback(
                x.detach(), input_gradient=ctx.needs_input_grad[0]
            )
        finally:
            bijection._takes_part = True
        # Copies, as what a pullback needs must not be written to.
        return y.to(x.dtype, copy=True), log_det.to(x.dtype, copy=True)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_y: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor | None, None, None]:
        grad_x = ctx.pullback(grad_y, grad_log_det)
        return None if grad_x is None else grad_x.to(ctx.dtype), None, None
