"""
======================
Data in separate parts
======================

A flow is a bijection: it stretches space and never tears it. From a base distribution in one part
it makes data in several only with bridges between them. A mixture as the base distribution may
have as many parts as the data, and no bridges.
"""

# %%
# Eight Gaussians on a circle lie more than ten standard deviations apart. The mixture, which
# starts from the parts that it finds in the data, has 16 components: nobody has to count.

import matplotlib.pyplot as plt
import numpy as np

from skflow import RelativeGradientFlow
from skflow.datasets import gaussian_ring

ring = gaussian_ring(noise=0.3)
X = ring.sample(2000, random_state=0)

flows = {
    base: RelativeGradientFlow(base_distribution=base, random_state=0).fit(X)
    for base in ("normal", "mixture")
}

# %%
# No density can beat the truth in the long run. Of its rows, hardly any lie between the parts,
# more than four standard deviations from all centres.

X_test = ring.sample(20_000, random_state=1)
samples = {name: flow.sample(20_000, random_state=0) for name, flow in flows.items()}

print(f"{'base distribution':20}{'held-out nats':>15}{'samples between':>18}")
for name, model in {**flows, "(the truth)": ring}.items():
    rows = samples.get(name, X_test)
    nearest = np.linalg.norm(rows[:, None] - ring.centres, axis=2).min(axis=1)
    between = np.mean(nearest > 4 * ring.noise)
    print(f"{name:20}{model.score(X_test):>15.3f}{between:>18.2%}")

# %%
# The logarithm of the density shows the bridges, and the samples that fall on them.

grid = np.stack(np.meshgrid(*[np.linspace(-5.5, 5.5, 300)] * 2), -1)
figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
for column, name, model, rows in [
    (axes[:, 0], "data", ring, X),
    *[(axes[:, 1 + i], name, flows[name], samples[name][:2000]) for i, name in enumerate(flows)],
]:
    log_density = model.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    column[0].scatter(*rows.T, s=2, color="#fcf3d0", alpha=0.5, linewidths=0)
    column[1].imshow(
        log_density, origin="lower", extent=(-5.5, 5.5) * 2, cmap="magma", vmin=-14, vmax=0
    )
    column[0].set_title(name)
axes[0, 0].set_ylabel("data and samples")
axes[1, 0].set_ylabel("logarithm of the density")
for ax in axes.flat:
    ax.set(xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal", xticks=[], yticks=[])
    ax.set_facecolor(plt.get_cmap("magma")(0.0))
    ax.spines[:].set_visible(False)
plt.show()
