"""Elementwise root finding that checks itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.exceptions import InversionError

__all__ = ["bracketed_newton"]


@torch.no_grad()
def bracketed_newton(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    *,
    lower: Tensor,
    upper: Tensor,
    start: Tensor,
    max_iter: int = 100,
) -> Tensor:
    r"""Solve :math:`f(x) = t` for an increasing :math:`f`, element by element.

    Newton steps that leave the bracket are replaced by bisections, so that each step
    shrinks the bracket and the iteration converges from any start. The result is checked.

    Parameters
    ----------
    function : callable
        Maps `x` to :math:`f(x)` and :math:`f'(x) > 0`, both of the shape of `x`.
    target : Tensor
        The values :math:`t` to reach.
    lower, upper : Tensor of the shape of `target`
        :math:`f(lower) \le t \le f(upper)`, up to rounding.
    start : Tensor of the shape of `target`
        Where to start, inside the bracket.
    max_iter : int, default=100
        The most steps to take. Some five are usual; bisection alone takes about 60.

    Returns
    -------
    x : Tensor of the shape of `target`

    Raises
    ------
    InversionError
        If a residual exceeds the rounding error of the function's own evaluation.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.root_finding import bracketed_newton
    >>> target = torch.tensor([8.0, -27.0], dtype=torch.float64)
    >>> bracketed_newton(
    ...     lambda x: (x**3, 3 * x**2),
    ...     target,
    ...     lower=torch.full_like(target, -10),
    ...     upper=torch.full_like(target, 10),
    ...     start=torch.full_like(target, 1),
    ... )
    tensor([ 2., -3.], dtype=torch.float64)
    """
    eps = torch.finfo(target.dtype).eps
    x = start
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
    value, slope = function(x)
    residual = (value - target).abs()
    # One ulp of x moves the value by slope * eps * |x|: no solver can promise more.
    tolerance = 64 * eps * (1 + target.abs() + slope * x.abs())
    if not bool((residual <= tolerance).all()):
        worst = (residual / (1 + target.abs())).max().item()
        raise InversionError(
            f"The inverse was not found to working precision ({target.dtype}): the worst "
            f"relative residual is {worst:.3g} after {max_iter} iterations. Invert in float64, "
            "and check that the values to invert are finite and not absurdly large."
        )
    return x
