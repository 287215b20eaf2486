"""
===========================
Latents before a classifier
===========================

``transform`` maps rows to latents, which are independent normals as far as the model fits. In a
:class:`!sklearn.pipeline.Pipeline` they are features like any others.
"""

# %%
# Fitted and scored as a whole, beside the same classifier on standardised columns:

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import RelativeGradientFlow

X, y = load_breast_cancer(return_X_y=True)

flow = RelativeGradientFlow(random_state=0)
for name, features in [("columns", StandardScaler()), ("latents", flow)]:
    accuracy = cross_val_score(make_pipeline(features, LogisticRegression()), X, y, cv=5)
    print(f"{name}: accuracy {accuracy.mean():.3f} ± {accuracy.std():.3f}")

# %%
# The flow knows nothing of the classes. Latents make all directions equally wide, those in
# which the classes differ among them, so a linear classifier need not gain by them. What they
# do offer is one scale, hardly any correlations and light tails.

import matplotlib.pyplot as plt
import numpy as np

Z = flow.fit_transform(X)
standardized = StandardScaler().fit_transform(X)
normal = np.linspace(-4, 4, 200)

columns = [0, 3, 13, 20]
figure, axes = plt.subplots(2, 4, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for j, column in enumerate(columns):
    for ax, values in zip(axes[:, j], (standardized, Z), strict=True):
        ax.hist(values[:, column], bins=30, range=(-4, 4), density=True, color="#d9a08b")
        ax.plot(normal, np.exp(-(normal**2) / 2) / np.sqrt(2 * np.pi), color="#3d5a80")
        ax.spines[["top", "left", "right"]].set_visible(False)
        ax.set(yticks=[])
    axes[0, j].set_title(load_breast_cancer().feature_names[column], fontsize=10)
    axes[1, j].set_title(flow.get_feature_names_out()[column], fontsize=10)
axes[0, 0].set_ylabel("standardised columns")
axes[1, 0].set_ylabel("latents")
plt.show()

# %%
# The line is the standard normal density. Correlations between columns vanish as well:

for name, values in [("columns", X), ("latents", Z)]:
    correlation = np.corrcoef(values, rowvar=False)
    off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
    print(f"{name}: largest correlation {abs(off_diagonal).max():.2f}")
