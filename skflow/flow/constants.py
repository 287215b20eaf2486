"""Constants that the density of a fitted flow depends on beside its parameters."""

from __future__ import annotations

from skflow.flow import couplings, elementwise, latent_tails, logarithm, splines, student_t, tails

__all__ = ["density_constants"]


def density_constants() -> dict[str, float]:
    """Return the constants by their names.

    Whoever changes one changes the density of every flow that was written to a file before. Files
    hold the constants, and are refused where these are others.

    Examples
    --------
    >>> from skflow.flow.constants import density_constants
    >>> density_constants()["splines.least_slope"]
    0.001
    """
    return {
        "couplings.half_box": couplings.HALF_BOX,
        "couplings.n_shares": couplings.N_SHARES,
        "elementwise.n_shares": elementwise.N_SHARES,
        "latent_tails.end": latent_tails.END,
        "latent_tails.longest": latent_tails.LONGEST,
        "logarithm.longest": logarithm.LONGEST,
        "splines.least_slope": splines.LEAST_SLOPE,
        "student_t.least_inverse": student_t.LEAST_INVERSE,
        "tails.longest": tails.LONGEST,
    }
