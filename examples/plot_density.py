r"""
===================================
A density, its integral and samples
===================================

A flow gives the log-density of each row exactly, up to how well it fits: whatever its weights are,
the density that it stands for integrates to one. Here it learns two half moons, whose own density
is known, so that the fit can be held against the truth.
"""

# %%
# Fit
# ---
#
# The defaults follow shapes as curved as these: splines bend each axis, couplings bend one by
# what the other is, and the dense layers between them turn the plane.

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons

moons = half_moons(noise=0.1)
X = moons.sample(5000, random_state=0)

flow = RelativeGradientFlow(random_state=0).fit(X)

X_test = moons.sample(5000, random_state=1)
print(f"held-out nats: flow {flow.score(X_test):.3f}, truth {moons.score(X_test):.3f}")

# %%
# The density on a grid
# ---------------------
#
# ``score_samples`` returns logarithms. Their exponentials, times the area of a cell, add up to
# one.

import numpy as np

x, dx = np.linspace(-6, 7, 1000, retstep=True)
y, dy = np.linspace(-6, 6, 1000, retstep=True)
grid = np.stack(np.meshgrid(x, y), -1)
density = np.exp(flow.score_samples(grid.reshape(-1, 2))).reshape(len(y), len(x))

print(f"integral over the grid: {density.sum() * dx * dy:.5f}")

# %%
# Side by side
# ------------
#
# Samples are the way back: draws from a normal distribution, through the inverse of the network.

import matplotlib.pyplot as plt

samples = flow.sample(5000, random_state=0)

figure, axes = plt.subplots(1, 3, figsize=(10, 2.35), layout="constrained")
for ax, rows, title in [(axes[0], X, "data"), (axes[2], samples, "samples of the flow")]:
    ax.scatter(*rows.T, s=2, color="#fcf3d0", alpha=0.5, linewidths=0)
    ax.set_title(title)
extent = (x[0], x[-1], y[0], y[-1])
axes[1].imshow(density, origin="lower", extent=extent, cmap="magma", vmin=0)
axes[1].set_title("density of the flow")
for ax in axes:
    ax.set(xlim=(-1.5, 2.5), ylim=(-1, 1.5), aspect="equal", xticks=[], yticks=[])
    ax.set_facecolor(plt.get_cmap("magma")(0.0))
    ax.spines[:].set_visible(False)
plt.show()
