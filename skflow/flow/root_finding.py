"""Elementwise root finding that checks itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.exceptions import InversionError
from skflow.flow.blocks import BLOCK_ENTRIES

__all__ = ["bracketed_newton"]


Function = Callable[[Tensor], tuple[Tensor, ...]]
Bounds = Callable[[Tensor], tuple[Tensor, Tensor]]


@torch.no_grad()
def bracketed_newton(
    function: Function,
    target: Tensor,
    *,
    start: Callable[[Tensor], Tensor],
    bracket: Bounds,
    plain_steps: int = 8,
    max_iter: int = 100,
) -> Tensor:
    r"""Solve :math:`f(x) = t` for an increasing :math:`f`, element by element.

    Plain steps come first: Newton's, which double the digits that are right, or Halley's, which
    treble them. Where they do not come to rest, Newton steps that leave the bracket are replaced
    by bisections, so that each step shrinks the bracket and the iteration converges from any
    start. The result is checked.

    Parameters
    ----------
    function : callable
        Elementwise; maps `x` to :math:`f(x)` and :math:`f'(x) > 0`, and for Halley's steps to
        :math:`f''(x) / f'(x)` as well, in new tensors of the shape of `x`.
    target : Tensor
        The values :math:`t` to reach.
    start : callable
        Elementwise; maps targets to where to start.
    bracket : callable
        Elementwise; maps targets to :math:`lower` and :math:`upper`, with
        :math:`f(lower) \le t \le f(upper)` up to rounding. Called only where it is needed.
    plain_steps : int, default=8
        The most plain steps: so many are enough from a good start.
    max_iter : int, default=100
        The most steps to take with the bracket. Bisection alone takes about 60.

    Returns
    -------
    x : Tensor of the shape of `target`
        The rows before the map.

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
    ...     start=torch.ones_like,
    ...     bracket=lambda t: (torch.full_like(t, -10), torch.full_like(t, 10)),
    ... )
    tensor([ 2., -3.], dtype=torch.float64)
    """
    x = torch.empty_like(target, memory_format=torch.contiguous_format)
    if target.numel() == 0:
        return x
    blocks = zip(
        x.view(-1).split(BLOCK_ENTRIES), target.reshape(-1).split(BLOCK_ENTRIES), strict=True
    )
    for solution, block in blocks:
        if not _plain_steps(function, block, start(block), solution, plain_steps):
            _bisecting_newton(function, block, start(block), *bracket(block), max_iter, solution)
    return x


def _plain_steps(
    function: Function, target: Tensor, x: Tensor, solution: Tensor, n_steps: int
) -> bool:
    eps = torch.finfo(target.dtype).eps
    for k in range(n_steps):
        value, slope, *bend = function(x)
        step = value.sub_(target).div_(slope)
        if bend:
            step.div_(bend[0].mul_(step).mul_(-0.5).add_(1))
        x = torch.sub(x, step, out=solution)
        if k > 0:  # no start is so good that it pays to look before
            # What is left is the square or the cube of this step, near the root.
            enough = 0.25 * eps ** (1 / (2 + len(bend)))
            low, high = torch.aminmax(step)
            if max(-float(low), float(high)) <= enough:
                return True
    return False


def _bisecting_newton(
    function: Function,
    target: Tensor,
    x: Tensor,
    lower: Tensor,
    upper: Tensor,
    max_iter: int,
    solution: Tensor,
) -> None:
    eps = torch.finfo(target.dtype).eps
    x = torch.clamp(x, lower, upper)
    for _ in range(max_iter):
        value, slope, *_ = function(x)
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
    value, slope, *_ = function(x)
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
    solution.copy_(x)
