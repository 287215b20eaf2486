import pytest
import torch

from skflow.exceptions import InversionError
from skflow.flow.root_finding import bracketed_newton


def test_converges_where_newton_alone_would_not():
    # Newton's iteration on arctan runs away from every start beyond 1.39.
    target = torch.tensor([0.0, 1.2, -1.2], dtype=torch.float64)
    x = bracketed_newton(
        lambda x: (torch.atan(x), 1 / (1 + x**2)),
        target,
        start=lambda t: torch.full_like(t, 50),
        bracket=lambda t: (torch.full_like(t, -100), torch.full_like(t, 100)),
    )
    torch.testing.assert_close(x, torch.tan(target), atol=1e-13, rtol=1e-13)


def test_raises_when_there_is_no_root():
    target = torch.ones(1, dtype=torch.float64)
    with pytest.raises(InversionError, match=r"worst relative residual is .* after 100 iter"):
        bracketed_newton(
            lambda x: (0.5 * torch.tanh(x), 0.5 / torch.cosh(x) ** 2),
            target,
            start=lambda t: torch.full_like(t, 2.5),
            bracket=lambda t: (torch.full_like(t, 2), torch.full_like(t, 3)),
        )


def test_raises_when_it_ran_out_of_iterations():
    target = torch.ones(1, dtype=torch.float64)
    with pytest.raises(InversionError, match="after 1 iterations"):
        bracketed_newton(
            lambda x: (x**3, 3 * x**2),
            target,
            start=lambda t: torch.full_like(t, 900),
            bracket=lambda t: (torch.full_like(t, 0), torch.full_like(t, 1000)),
            max_iter=1,
        )


def test_halley_steps_take_fewer_evaluations():
    target = torch.linspace(0.5, 3, 7, dtype=torch.float64)
    calls = {2: 0, 3: 0}

    def exponential(x, n_terms):
        calls[n_terms] += 1
        return torch.exp(x), torch.exp(x), torch.ones_like(x)

    for n_terms in calls:
        x = bracketed_newton(
            lambda x, n=n_terms: exponential(x, n)[:n],
            target,
            start=lambda t: t - 1,
            bracket=lambda t: (torch.full_like(t, -9), torch.full_like(t, 9)),
        )
        torch.testing.assert_close(x, target.log())
    assert calls[3] < calls[2]


def test_nothing_to_solve_for():
    empty = torch.empty(0, 3)
    x = bracketed_newton(lambda x: (x, x), empty, start=lambda t: t, bracket=lambda t: (t, t))
    assert x.shape == (0, 3)
