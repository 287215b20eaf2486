"""
=====================================
Choose coupling and depth by a search
=====================================

``score`` is the mean log-likelihood of held-out rows, so
:class:`!sklearn.model_selection.GridSearchCV` needs no ``scoring`` to choose the parameters.
"""

# %%

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split

from skflow import RelativeGradientFlow

X_train, X_test = train_test_split(load_breast_cancer().data, test_size=0.2, random_state=0)

depths = [1, 3, 6]
couplings = [None, "affine", "spline"]
search = GridSearchCV(
    # Each fit to so few rows would try two strengths of noise: with one that suits, it is shorter.
    RelativeGradientFlow(input_noise=0.2, random_state=0),
    {"coupling": couplings, "n_layers": depths},
    cv=3,
    n_jobs=2,
).fit(X_train)

print(f"best: {search.best_params_}")
print(f"its held-out log-likelihood: {search.score(X_test):.2f} nats")

# %%
# One layer has no coupling, and so the columns agree there: it is a Gaussian whose axes are bent,
# each by a spline.

import matplotlib.pyplot as plt

shape = len(couplings), len(depths)
mean = search.cv_results_["mean_test_score"].reshape(shape).T
spread = search.cv_results_["std_test_score"].reshape(shape).T

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
image = ax.imshow(mean, cmap="viridis", aspect="auto")
middle = (mean.min() + mean.max()) / 2
for i in range(len(depths)):
    for j in range(len(couplings)):
        color = "black" if mean[i, j] > middle else "white"
        text = f"{mean[i, j]:.1f} ± {spread[i, j]:.1f}"
        ax.text(j, i, text, ha="center", va="center", color=color)
ax.set(
    xticks=range(len(couplings)),
    xticklabels=[str(coupling) for coupling in couplings],
    yticks=range(len(depths)),
    yticklabels=depths,
    xlabel="coupling",
    ylabel="n_layers",
    title="cross-validated nats",
)
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
plt.show()
