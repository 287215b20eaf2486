"""Distributions of others, made base distributions."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skflow.flow.base import BaseDistribution

__all__ = ["AdaptedDistribution", "DistributionLike"]

_PROBE_ROWS = 3


class DistributionLike(Protocol):
    """What has the two methods of a distribution in :mod:`torch.distributions`."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """Return the log-density at `value`.

        Parameters
        ----------
        value : Tensor
            Where the density is wanted.
        """

    def sample(self, sample_shape: torch.Size, /) -> Tensor:
        """Draw so many times.

        Parameters
        ----------
        sample_shape : torch.Size
            How many times to draw.
        """


class AdaptedDistribution(BaseDistribution):
    r"""A distribution of :mod:`torch.distributions`, or one alike, for the latents.

    It is one of vectors of shape (D,), or of numbers, and is then applied to each component by
    itself. Its density must be positive on all of :math:`\mathbb{R}^D`. The parameters of an
    :class:`torch.nn.Module` are trained with the flow; all others stay what they are.

    Parameters
    ----------
    distribution : object with ``log_prob`` and ``sample``
        As those of :class:`torch.distributions.Distribution`.

    Notes
    -----
    Such an object draws from PyTorch's global generator. While it does, that is seeded from the
    generator that was passed, and then given its state back: seeds reproduce, and nobody else
    notices, but for other threads that draw from it at the same time.

    Densities are computed in float64 where the object takes it, else in the precision of its
    parameters.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import AdaptedDistribution
    >>> base = AdaptedDistribution(torch.distributions.Laplace(0.0, 1.0))
    >>> base.allocate(2)
    >>> base.log_prob(torch.zeros(1, 2))
    tensor([-1.3863])
    >>> base.sample((3, 2), generator=torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """

    def __init__(self, distribution: DistributionLike) -> None:
        super().__init__()
        self.distribution: Any = distribution
        self._dtype = torch.float64
        self._device: torch.device | None = None
        self._one_draw: tuple[int, ...] = ()

    def allocate(self, n_features: int) -> None:
        """Check by trial that the distribution is one of so many features.

        Parameters
        ----------
        n_features : int
            The number D of features.

        Raises
        ------
        ValueError
            If its samples or log-densities have another shape, or if its density is not
            positive everywhere.
        """
        expected = (
            f"a distribution of vectors of shape ({n_features},), one entry for each column, or "
            "of numbers, for every column alike"
        )
        draws = self._draw((_PROBE_ROWS,), seed=0, device=self._module_device())
        if draws.shape == (_PROBE_ROWS,):
            self._one_draw = (n_features,)
        elif draws.shape == (_PROBE_ROWS, n_features):
            self._one_draw = ()
        else:
            raise ValueError(
                f"base_distribution={self._name()} draws samples of shape "
                f"{tuple(draws.shape[1:])}; pass {expected}."
            )
        self._device = None if isinstance(self.distribution, nn.Module) else draws.device
        probe = torch.linspace(
            -3, 3, _PROBE_ROWS * n_features, dtype=torch.float64, device=draws.device
        ).reshape(_PROBE_ROWS, n_features)
        with torch.no_grad():
            try:
                try:
                    self._dtype = torch.float64
                    log_prob = self.distribution.log_prob(probe)
                except RuntimeError:  # matrices of another precision, most likely
                    self._dtype = draws.dtype
                    log_prob = self.distribution.log_prob(probe.to(self._dtype))
                everywhere = bool(torch.isfinite(log_prob).all()) and self._supports(probe)
            except ValueError:  # how torch.distributions refuses values outside its support
                everywhere = False
        if not everywhere:
            raise ValueError(
                f"base_distribution={self._name()} does not have a positive density on the whole "
                "real line, where latents may fall: pass one that has, such as a normal."
            )
        if log_prob.shape not in {(_PROBE_ROWS,), (_PROBE_ROWS, n_features)}:
            raise ValueError(
                f"base_distribution={self._name()} gives log-densities of shape "
                f"{tuple(log_prob.shape)} for {_PROBE_ROWS} rows; pass {expected}."
            )

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        log_prob = self.distribution.log_prob(z.to(self._device or z.device, self._dtype))
        if log_prob.ndim == 2:
            log_prob = log_prob.sum(-1)
        return log_prob.to(z.device, z.dtype)

    def sample(  # noqa: D102
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        device = generator.device
        seed = int(torch.randint(2**62, (), generator=generator, device=device))
        draws = self._draw((shape[0], *self._one_draw), seed=seed, device=self._device or device)
        return draws.to(device, dtype)

    def extra_repr(self) -> str:  # noqa: D102
        return "" if isinstance(self.distribution, nn.Module) else self._name()

    def _draw(self, shape: tuple[int, ...], *, seed: int, device: torch.device) -> Tensor:
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            for each in cuda:
                with torch.cuda.device(each):
                    torch.cuda.manual_seed(seed)
            return self.distribution.sample(torch.Size(shape))

    def _supports(self, z: Tensor) -> bool:
        # Without its checks of arguments, a distribution may give any number outside its support.
        try:
            return bool(self.distribution.support.check(z).all())
        except (AttributeError, NotImplementedError):  # it does not say
            return True

    def _module_device(self) -> torch.device:
        parameter = next(self.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def _name(self) -> str:
        # Without the address in memory, which is another one for an equal object.
        name = repr(self.distribution)
        plain = name == object.__repr__(self.distribution)
        return type(self.distribution).__name__ if plain else name
