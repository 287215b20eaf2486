"""
================
Looking at a fit
================

A likelihood is one number. The displays of :mod:`!skflow.inspection` show what lies behind it:
how the fit went, its samples beside the data, the density of two features, and whether the latents
follow the base distribution. Like scikit-learn's, each draws with ``from_estimator`` and keeps
what it drew.
"""

# %%
# Thirty measurements of cell nuclei, a quarter of the rows held out:

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skflow import RelativeGradientFlow

X = load_breast_cancer(as_frame=True).data
X_train, X_test = train_test_split(X, random_state=0)

flow = RelativeGradientFlow(max_iter=40, random_state=0).fit(X_train)

# %%
# The fit
# -------
#
# Training climbs on where validation turns: these rows are few for so many columns. The mark is at
# the weights that were kept.

import matplotlib.pyplot as plt

from skflow.inspection import TrainingCurveDisplay

TrainingCurveDisplay.from_estimator(flow)
plt.show()

# %%
# Data and samples
# ----------------
#
# Data below the diagonal, samples above it, and histograms of both on it. Names choose the
# features. The samples keep to the curve on which radius and area lie.

from skflow.inspection import PairDisplay

PairDisplay.from_estimator(
    flow,
    X_test,
    features=["mean radius", "mean area", "mean texture", "mean concavity"],
    random_state=0,
)
plt.show()

# %%
# A density
# ---------
#
# Two of the thirty features, with the other 28 integrated out: an estimate from samples, which is
# smooth up to a bandwidth that the display keeps. Any density estimator will do, here a Gaussian
# for comparison. It puts a part of its density below zero, where no concavity can be, and its peak
# where the data are not densest.

from sklearn.mixture import GaussianMixture

from skflow.inspection import DensityDisplay

gaussian = GaussianMixture(random_state=0).fit(X_train)

figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained")
for ax, estimator in zip(axes, (flow, gaussian), strict=True):
    display = DensityDisplay.from_estimator(
        estimator, X_test, features=["mean texture", "mean concavity"], random_state=0, ax=ax
    )
    ax.set_title(type(estimator).__name__)
    print(f"{type(estimator).__name__:22}bandwidth {display.bandwidth.round(3)}")
plt.show()

# %%
# The latents
# -----------
#
# What a flow makes of rows should follow its base distribution, here the standard normal. Of
# thirty latents the twelve that differ most are shown, by the statistic of a Kolmogorov-Smirnov
# test, on rows that the flow was not fitted to.

from skflow.inspection import LatentDisplay

display = LatentDisplay.from_estimator(flow, X_test)
plt.show()

# %%
# Were all of them perfect, one in twenty would be expected to have a p-value below 0.05. There are
# more: few rows tell this flow from the truth.

print(f"{(display.pvalue < 0.05).sum()} of {len(display.pvalue)} latents have p < 0.05")
