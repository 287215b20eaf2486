"""
=======================================
Choose activation and depth by a search
=======================================

``score`` is the mean log-likelihood of held-out rows, so
:class:`!sklearn.model_selection.GridSearchCV` needs no ``scoring`` to choose the parameters.
"""

# %%

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split

from skflow import RelativeGradientFlow

X_train, X_test = train_test_split(load_breast_cancer().data, test_size=0.2, random_state=0)

depths = [1, 2, 5, 10]
activations = ["auto", "leaky_tanh", "smooth_leaky_relu"]
search = GridSearchCV(
    RelativeGradientFlow(max_iter=60, random_state=0),
    {"activation": activations, "n_layers": depths},
    cv=3,
).fit(X_train)

print(f"best: {search.best_params_}")
print(f"its held-out log-likelihood: {search.score(X_test):.2f} nats")

# %%
# One layer has no activation: it is a Gaussian, and the columns agree. The folds differ from
# each other more than neighbouring settings do, because so few rows fill thirty dimensions.

import matplotlib.pyplot as plt

shape = len(activations), len(depths)
mean = search.cv_results_["mean_test_score"].reshape(shape).T
spread = search.cv_results_["std_test_score"].reshape(shape).T

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
image = ax.imshow(mean, cmap="viridis", aspect="auto")
middle = (mean.min() + mean.max()) / 2
for i in range(len(depths)):
    for j in range(len(activations)):
        color = "black" if mean[i, j] > middle else "white"
        text = f"{mean[i, j]:.1f} ± {spread[i, j]:.1f}"
        ax.text(j, i, text, ha="center", va="center", color=color)
ax.set(
    xticks=range(len(activations)),
    xticklabels=activations,
    yticks=range(len(depths)),
    yticklabels=depths,
    ylabel="n_layers",
    title="cross-validated nats",
)
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
plt.show()
