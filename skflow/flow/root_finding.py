"""Elementwise root finding that checks itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.exceptions import InversionError

__all__ = ["bracketed_newton"]


# So many plain Newton steps are enough from a good start.
_PLAIN_STEPS = 8


@torch.no_grad()
def bracketed_newton(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    *,
    lower: Tensor,
    upper: Tensor,
    start: Tensor,
    max_iter: int = 100,
) -> tuple[Tensor, Tensor]:
    r"""Solve :math:`f(x) = t` for an increasing :math:`f`, element by element.

    Plain Newton steps come first. For the elements that they do not bring to the target, steps
    that leave the bracket are replaced by bisections, so that each step shrinks the bracket
    and the iteration converges from any start. The result is checked.

    Parameters
    ----------
    function : callable
        Elementwise; maps `x` to :math:`f(x)` and :math:`f'(x) > 0`, both of the shape of `x`.
    target : Tensor
        The values :math:`t` to reach.
    lower, upper : Tensor of the shape of `target`
        :math:`f(lower) \le t \le f(upper)`, up to rounding.
    start : Tensor of the shape of `target`
        Where to start, inside the bracket.
    max_iter : int, default=100
        The most steps to take. Some four are usual; bisection alone takes about 60.

    Returns
    -------
    x : Tensor of the shape of `target`
    slope : Tensor of the shape of `target`
        :math:`f'(x)`

    Raises
    ------
    InversionError
        If a residual exceeds the rounding error of the function's own evaluation.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.root_finding import bracketed_newton
    >>> target = torch.tensor([8.0, -27.0], dtype=torch.float64)
    >>> x, slope = bracketed_newton(
    ...     lambda x: (x**3, 3 * x**2),
    ...     target,
    ...     lower=torch.full_like(target, -10),
    ...     upper=torch.full_like(target, 10),
    ...     start=torch.full_like(target, 1),
    ... )
    >>> x
    tensor([ 2., -3.], dtype=torch.float64)
    """
    x = start
    found = torch.zeros((), dtype=torch.bool)
    for step in range(_PLAIN_STEPS):
        value, slope = function(x)
        residual = value - target
        if step > 1:  # no start is so good that it pays to look before
            found = residual.abs() <= _tolerance(target, x, slope)
            if bool(found.all()):
                return x.sub_(residual.div_(slope)), slope
        x = x - residual.div_(slope)

    missing = ~found
    x[missing] = _bisecting_newton(
        function, target[missing], lower[missing], upper[missing], start[missing], max_iter
    )
    value, slope = function(x)
    residual = (value - target).abs()
    if not bool((residual <= _tolerance(target, x, slope)).all()):
        worst = (residual / (1 + target.abs())).max().item()
        raise InversionError(
            f"The inverse was not found to working precision ({target.dtype}): the worst "
            f"relative residual is {worst:.3g} after {max_iter} iterations. Invert in float64, "
            "and check that the values to invert are finite and not absurdly large."
        )
    return x, slope


def _bisecting_newton(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    lower: Tensor,
    upper: Tensor,
    x: Tensor,
    max_iter: int,
) -> Tensor:
    eps = torch.finfo(target.dtype).eps
    for _ in range(max_iter):
        value, slope = function(x)
        residual = value - target
        lower = torch.where(residual < 0, x, lower)
        upper = torch.where(residual > 0, x, upper)
        step = x - residual / slope
        inside = (step >= lower) & (step <= upper)  # False for NaN
        step = torch.where(inside, step, 0.5 * (lower + upper))
        settled = (step - x).abs() <= 2 * eps * x.abs()
        x = step
        if bool((settled | (residual == 0)).all()):
            break
    return x


def _tolerance(target: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    # One ulp of x moves the value by slope * eps * |x|: no solver can promise more.
    return (slope * x).abs_().add_(target.abs()).add_(1).mul_(64 * torch.finfo(x.dtype).eps)
