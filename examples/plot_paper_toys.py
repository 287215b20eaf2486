"""
=====================
The paper's toy data
=====================

Figure 2 of Gresele et al. (NeurIPS 2020) fits three densities in the plane, with 100 dense layers
of two units, smooth leaky ReLUs and Adam, over thousands of epochs. Such depth is where the
relative gradient is at home: no step computes a determinant or an inverse.

The fits here have fixed activations as well, but end in seconds: 40 layers, a gentler bend in
each, and the optimiser that is the default, which normalises the relative gradient.
``benchmarks/toys.py`` has the paper's own settings. The default network learns what stands between
its layers, and comes a little closer with six of them: see
:ref:`sphx_glr_auto_examples_plot_density.py`.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np

from skflow import RelativeGradientFlow, SmoothLeakyReLU
from skflow.datasets import gaussian_ring, half_moons, sine

toys = {
    "half moons": half_moons(),
    "sine": sine(),
    "mixture of Gaussians": gaussian_ring(),
}
flows = {}
for name, toy in toys.items():
    flows[name] = RelativeGradientFlow(
        n_layers=40,
        activation=SmoothLeakyReLU(alpha=0.5),
        max_iter=200,
        n_iter_no_change=200,
        random_state=0,
    ).fit(toy.sample(5000, random_state=0))

# %%
# The truth is known, and so is the score that no density can beat in the long run.

print(f"{'held-out nats':22}{'flow':>8}{'truth':>8}")
for name, toy in toys.items():
    X_test = toy.sample(5000, random_state=1)
    print(f"{name:22}{flows[name].score(X_test):>8.2f}{toy.score(X_test):>8.2f}")

# %%
# Each layer is smooth and has an inverse, so the flow stretches space and never tears it: thin
# bridges remain between parts that the data keep apart.

figure, axes = plt.subplots(3, 3, figsize=(8, 8), layout="constrained")
for row, (name, toy) in zip(axes, toys.items(), strict=True):
    data = toy.sample(5000, random_state=0)
    centre, radius = (data.max(0) + data.min(0)) / 2, 0.55 * np.ptp(data, axis=0).max()
    (x0, y0), (x1, y1) = centre - radius, centre + radius
    grid = np.stack(np.meshgrid(np.linspace(x0, x1, 300), np.linspace(y0, y1, 300)), -1)
    density = np.exp(flows[name].score_samples(grid.reshape(-1, 2))).reshape(300, 300)
    peak = np.exp(toy.score_samples(data)).max()
    samples = flows[name].sample(5000, random_state=0)
    row[0].scatter(*data.T, s=1.5, color="#fcf3d0", alpha=0.5, linewidths=0)
    row[1].imshow(
        density, origin="lower", extent=(x0, x1, y0, y1), cmap="magma", vmin=0, vmax=peak
    )
    row[2].scatter(*samples.T, s=1.5, color="#fcf3d0", alpha=0.5, linewidths=0)
    row[0].set_ylabel(name)
    for ax in row:
        ax.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal", xticks=[], yticks=[])
        ax.set_facecolor(plt.get_cmap("magma")(0.0))
        ax.spines[:].set_visible(False)
for ax, title in zip(axes[0], ["data", "density of the flow", "samples of the flow"], strict=True):
    ax.set_title(title)
plt.show()
