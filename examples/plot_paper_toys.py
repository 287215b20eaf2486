"""
=====================
The paper's toy data
=====================

Figure 2 of Gresele et al. (NeurIPS 2020) fits three densities in the plane, with 100 dense layers
of two units, smooth leaky ReLUs and Adam, over thousands of epochs. Such depth is where the
relative gradient is at home: no step computes a determinant or an inverse.

Here, 40 such layers with a gentler bend in each, trained in seconds by the optimiser that
normalises the relative gradient, stand beside the defaults, which learn their nonlinearities and
need six layers. ``benchmarks/toys.py`` has the paper's own settings.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from skflow import RelativeGradientFlow, SmoothLeakyReLU
from skflow.datasets import gaussian_ring, half_moons, sine

toys = {
    "half moons": half_moons(),
    "sine": sine(),
    "mixture of Gaussians": gaussian_ring(),
}
fixed = RelativeGradientFlow(
    n_layers=40,
    activation=SmoothLeakyReLU(alpha=0.5),
    max_iter=200,
    n_iter_no_change=200,
    random_state=0,
)
learned = RelativeGradientFlow(random_state=0)
flows = {}
for name, toy in toys.items():
    X = toy.sample(5000, random_state=0)
    flows[name] = [clone(flow).fit(X) for flow in (fixed, learned)]

# %%
# The truth is known, and so is the score that no density can beat in the long run.

print(f"{'held-out nats':22}{'40 fixed':>10}{'defaults':>10}{'truth':>10}")
for name, toy in toys.items():
    X_test = toy.sample(5000, random_state=1)
    scores = [model.score(X_test) for model in (*flows[name], toy)]
    print(f"{name:22}" + "".join(f"{score:>10.2f}" for score in scores))

# %%
# Each layer is smooth and has an inverse, so the flow stretches space and never tears it: thin
# bridges remain between parts that the data keep apart.

figure, axes = plt.subplots(3, 4, figsize=(10, 7.6), layout="constrained")
for row, (name, toy) in zip(axes, toys.items(), strict=True):
    data = toy.sample(5000, random_state=0)
    centre, radius = (data.max(0) + data.min(0)) / 2, 0.55 * np.ptp(data, axis=0).max()
    (x0, y0), (x1, y1) = centre - radius, centre + radius
    grid = np.stack(np.meshgrid(np.linspace(x0, x1, 300), np.linspace(y0, y1, 300)), -1)
    peak = np.exp(toy.score_samples(data)).max()
    for ax, flow in zip(row[1:3], flows[name], strict=True):
        density = np.exp(flow.score_samples(grid.reshape(-1, 2))).reshape(300, 300)
        ax.imshow(
            density, origin="lower", extent=(x0, x1, y0, y1), cmap="magma", vmin=0, vmax=peak
        )
    samples = flows[name][1].sample(5000, random_state=0)
    for ax, points in [(row[0], data), (row[3], samples)]:
        ax.scatter(*points.T, s=1.5, color="#fcf3d0", alpha=0.5, linewidths=0)
    row[0].set_ylabel(name)
    for ax in row:
        ax.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal", xticks=[], yticks=[])
        ax.set_facecolor(plt.get_cmap("magma")(0.0))
        ax.spines[:].set_visible(False)
titles = ["data", "density, 40 fixed", "density, defaults", "samples, defaults"]
for ax, title in zip(axes[0], titles, strict=True):
    ax.set_title(title)
plt.show()
