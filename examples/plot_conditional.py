"""
======================================
A target with changing noise, in parts
======================================

A regression of means says nothing about the noise around them, and a mean between two branches is
a value that never occurs. :class:`~skflow.ConditionalFlow` learns the whole distribution of the
target given the features: how wide it is at each x, and in how many parts.
"""

# %%
# The noise grows to the left, and to the right the target takes one of two branches, the upper one
# in three of five cases. The density is known, so that we can say how close a fit comes to it.

import numpy as np
from scipy.stats import norm
from sklearn.model_selection import train_test_split

from skflow import ConditionalFlow

shares = np.array([0.6, 0.4])


def branches(x):
    return np.sin(2 * x)[:, None] + np.maximum(x, 0)[:, None] * [1, -1]


def spread(x):
    return 0.1 + 0.2 * np.maximum(-x, 0)


def true_log_density(x, y):
    return np.log(norm.pdf(y[:, None], branches(x), spread(x)[:, None]) @ shares)


rng = np.random.default_rng(0)
x = rng.uniform(-2, 2, size=6000)
branch = rng.choice(2, size=len(x), p=shares)
y = branches(x)[np.arange(len(x)), branch] + spread(x) * rng.normal(size=len(x))
X_train, X_test, y_train, y_test = train_test_split(x[:, None], y, test_size=1000, random_state=0)

# %%
# The predictions of a forest are features of a fit, unless ``n_trees`` is 0. A smooth function of
# one feature does not need them.

flow = ConditionalFlow(n_trees=0, random_state=0).fit(X_train, y_train)
print(f"fitted in {flow.fit_time_:.0f} s")

# %%
# Each vertical strip is a density of the target. Quantiles are exact. The median jumps from one
# branch to the other where the branches part, and between them there is nearly nothing.

import matplotlib.pyplot as plt

from skflow.inspection import ConditionalDensityDisplay

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ConditionalDensityDisplay.from_estimator(
    flow, X_test, y_test, ax=ax, random_state=0, scatter_kw={"s": 3, "alpha": 0.35}
)
ax.set(xlabel="x", ylabel="y")
plt.show()

# %%
# Two scores say how good the densities are: the mean log-likelihood of held-out rows, in nats, of
# which higher is better, and the continuous ranked probability score, in the units of the target,
# of which lower is better. The other regression has a linear mean and the same normal noise
# everywhere.

from sklearn.linear_model import BayesianRidge

from skflow.metrics import crps

levels = (np.arange(20) + 0.5) / 20
quantiles = flow.predict_quantiles(X_test, levels)
mean, std = BayesianRidge().fit(X_train, y_train).predict(X_test, return_std=True)
scores = {
    "linear and normal": (
        norm.logpdf(y_test, mean, std).mean(),
        crps(y_test, norm.ppf(levels, mean[:, None], std[:, None]), fair=False),
    ),
    "conditional flow": (flow.score(X_test, y_test), crps(y_test, quantiles, fair=False)),
}
print(f"{'':20}{'nats':>8}{'CRPS':>8}")
for name, (nats, score) in scores.items():
    print(f"{name:20}{nats:>8.2f}{score:>8.2f}")
print(f"{'(the truth)':20}{true_log_density(X_test[:, 0], y_test).mean():>8.2f}")

# %%
# Four densities, cut out of the picture above, beside the true ones. Where the noise is wide, the
# flow has ripples that the truth does not have: 5,000 rows say little about a single x.

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
grid = np.linspace(-3, 3, 600)
for ax, at in zip(axes, [-1.6, -0.4, 0.6, 1.6], strict=True):
    there = np.full(len(grid), at)
    ax.fill_between(grid, np.exp(true_log_density(there, grid)), color="0.85", label="truth")
    ax.plot(grid, np.exp(flow.score_samples(there[:, None], grid)), color="C0", label="flow")
    ax.set(title=f"x = {at:g}", xlabel="y", ylim=(0, None), yticks=[])
    ax.spines[["top", "left", "right"]].set_visible(False)
axes[0].set_ylabel("density")
axes[0].legend(frameon=False, loc="upper right")
plt.show()

# %%
# Is it calibrated? The distribution function at the targets, their *probability integral
# transform*, should be uniform, and as many targets should be below a quantile as its level says.
# The grey bands are what sampling error allows.

from skflow.inspection import PITDisplay, QuantileCalibrationDisplay

figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
PITDisplay.from_estimator(flow, X_test, y_test, ax=axes[0])
QuantileCalibrationDisplay.from_predictions(y_test, quantiles, levels=levels, ax=axes[1])
plt.show()

# %%
# An interval lies between two quantiles. That of 95 % is wide on the left, and spans both branches
# on the right. :ref:`The guide <conditional>` says how rows that are held out calibrate intervals.

lower, upper = quantiles[:, 0], quantiles[:, -1]
inside = (lower <= y_test) & (y_test <= upper)
for name, part in {"x < 0": X_test[:, 0] < 0, "x > 0": X_test[:, 0] > 0}.items():
    width = np.mean(upper[part] - lower[part])
    print(f"{name}: {inside[part].mean():.0%} in the interval of 95 %, mean width {width:.1f}")
