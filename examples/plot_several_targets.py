"""
=========================================
Several targets that depend on each other
=========================================

How may the joints of an arm be bent, if all that is known is where its hand is? There are many
answers, and what the first joint does decides what the others can do. A regression for each joint
knows the angles of each and not how they go together. A density of all three does.
"""

# %%
# An arm of three parts in the plane. Its joints bend at random, and its hand is seen with a
# little noise. The features are the two coordinates of the hand, and the targets three angles.

import numpy as np
from sklearn.model_selection import train_test_split

from skflow import ConditionalFlow

lengths = np.array([0.5, 0.5, 1.0])


def joints(angles):
    """Return the positions of shoulder, joints and hand, of shape (..., 4, 2)."""
    directions = np.cumsum(angles, axis=-1)
    steps = lengths[:, None] * np.stack([np.cos(directions), np.sin(directions)], axis=-1)
    return np.concatenate([np.zeros((*angles.shape[:-1], 1, 2)), steps.cumsum(axis=-2)], axis=-2)


rng = np.random.default_rng(0)
angles = rng.normal(scale=[0.5, 0.7, 0.7], size=(4000, 3))
hands = joints(angles)[:, -1] + 0.1 * rng.normal(size=(4000, 2))
X_train, X_test, y_train, y_test = train_test_split(hands, angles, test_size=0.25, random_state=0)

# %%
# One flow of three targets, and a flow for each of them. The targets are smooth in two features,
# so that no forest is needed.

joint = ConditionalFlow(n_trees=0, random_state=0).fit(X_train, y_train)
independent = [
    ConditionalFlow(n_trees=0, random_state=0).fit(X_train, y_train[:, k]) for k in range(3)
]

score = sum(flow.score(X_test, y_test[:, k]) for k, flow in enumerate(independent))
print(f"held-out nats, jointly:       {joint.score(X_test, y_test):6.2f}")
print(f"held-out nats, independently: {score:6.2f}")

# %%
# Draws of angles should bring the hand to where it is. The joint ones do. Those of independent
# flows are right for each angle, and hardly ever for all of them.


def draw(X, n_samples):
    """Return angles of shape (n_rows, n_samples, 3), by either model."""
    together = joint.sample(X, n_samples, random_state=0).transpose(0, 2, 1)
    apart = [flow.sample(X, n_samples, random_state=k) for k, flow in enumerate(independent)]
    return {"jointly": together, "independently": np.stack(apart, axis=-1)}


samples = draw(X_test, 10)
samples["(the truth)"] = y_test[:, None]
for name, drawn in samples.items():
    miss = np.linalg.norm(joints(drawn)[..., -1, :] - X_test[:, None], axis=-1)
    print(f"{name:14} the hand is off by {np.median(miss):.2f} in the median")

# %%
# The arms of sixty draws at two positions of the hand, which a cross marks. At the first one, the
# arm is bent up or down, a little or much; at the second, it is nearly stretched.

import matplotlib.pyplot as plt

at = np.array([[1.6, 0.0], [1.5, 1.2]])
figure, axes = plt.subplots(2, 2, figsize=(7, 7.4), sharex=True, sharey=True, layout="constrained")
for row, (name, drawn) in zip(axes, draw(at, 60).items(), strict=True):
    for ax, hand, of_hand in zip(row, at, drawn, strict=True):
        for arm in joints(of_hand):
            ax.plot(*arm.T, color="C0", alpha=0.25, linewidth=1)
            ax.plot(*arm[-1], ".", color="C1", markersize=4)
        ax.plot(*hand, "x", color="black", markersize=10, markeredgewidth=2)
        ax.plot(0, 0, "o", color="black", markersize=6)
        ax.set(xlim=(-0.6, 2.2), ylim=(-1.6, 1.9), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    row[0].set_ylabel(f"drawn {name}")
for ax, (x, y) in zip(axes[0], at, strict=True):
    ax.set_title(f"hand at ({x:g}, {y:g})")
plt.show()

# %%
# Two of the angles at the first position. Independent draws have the right shadows on both axes,
# and fill the rectangle between them.

figure, axes = plt.subplots(
    1, 2, figsize=(7.5, 3.8), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, drawn) in zip(axes, draw(at[:1], 1500).items(), strict=True):
    ax.scatter(*drawn[0, :, :2].T, s=4, alpha=0.4, linewidths=0)
    ax.set(xlabel="first angle", title=f"drawn {name}", xlim=(-1.8, 1.8), ylim=(-2.5, 2.5))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("second angle")
plt.show()

# %%
# Each latent is normal given the hand. What :meth:`~skflow.ConditionalFlow.to_latents` makes of
# held-out angles says whether the joint density is calibrated, all targets together: their squares
# add up to a chi-squared distribution of three degrees of freedom.

from scipy.stats import chi2

from skflow.inspection import PITDisplay

latents = joint.to_latents(X_test, y_test)
figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
PITDisplay.from_predictions(chi2.cdf((latents**2).sum(axis=1), df=3), ax=ax)
plt.show()
