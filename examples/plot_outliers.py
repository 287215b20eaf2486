"""
======================
The least likely rows
======================

A row that lies where the density is low is unlike the others. The flow ranks handwritten digits
by their log-likelihood, without having seen a label.
"""

# %%
# Pixels take whole numbers from 0 to 16, and whole numbers have no density. Uniform noise of the
# width of a step makes them continuous.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skflow import RelativeGradientFlow

digits = load_digits()
X = digits.data + np.random.default_rng(0).uniform(size=digits.data.shape)
X_train, X_test, _, y_test = train_test_split(X, digits.target, random_state=0)

flow = RelativeGradientFlow(random_state=0).fit(X_train)
log_density = flow.score_samples(X_test)
order = np.argsort(log_density)

# %%
# The likeliest of the held-out digits are plain and narrow, many of them ones. The unlikeliest are
# wide, slanted or flourished.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(4, 10, figsize=(10, 4.8), layout="constrained")
chosen = np.concatenate([order[:20], order[:-21:-1]])
for ax, i in zip(axes.flat, chosen, strict=True):
    ax.imshow(np.floor(X_test[i]).reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(f"{log_density[i]:.0f}", fontsize=9, color="0.4")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
axes[0, 0].set_ylabel("least likely", rotation=0, ha="right", va="center")
axes[2, 0].set_ylabel("most likely", rotation=0, ha="right", va="center")
figure.suptitle("held-out digits and their log-likelihood, in nats")
plt.show()

# %%
# A threshold turns the ranking into a detector. Held-out rows set it, since the rows that the flow
# was fitted to are likelier than new ones. Digits upside down are exactly as bright as the others,
# and yet seven times as many of them fall below. Most do not: many digits upside down look like
# digits.

threshold = np.quantile(log_density, 0.05)
upside_down = X_test.reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)

for name, rows in [("held out", X_test), ("fitted to", X_train), ("upside down", upside_down)]:
    print(f"{name:12}{np.mean(flow.score_samples(rows) < threshold):>5.0%} below the threshold")
