"""
======================
The least likely rows
======================

A row that lies where the density is low is unlike the others. A detector goes by the log-density
of a flow to find odd digits among handwritten ones, without having seen a label, and shows what is
odd about them.
"""

# %%
# Pixels take whole numbers from 0 to 16, and whole numbers have no density. Uniform noise of the
# width of a step makes them continuous.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skflow import FlowOutlierDetector, RelativeGradientFlow

digits = load_digits().data
X = digits + np.random.default_rng(0).uniform(size=digits.shape)
X_train, X_test = train_test_split(X, random_state=0)

# %%
# Why not one flow, and a threshold? The rows that a flow was fitted to are likelier than others:
# of those that were held out, many more than one in twenty fall below a threshold that one in
# twenty of the fitted ones do not reach.

flow = RelativeGradientFlow(random_state=0).fit(X_train)
threshold = np.quantile(flow.score_samples(X_train), 0.05)
print(f"{np.mean(flow.score_samples(X_test) < threshold):.0%} of the held-out digits are below")

# %%
# The detector fits several flows, each without a part of the rows, and sets its threshold by rows
# that a flow has not seen. So it holds for new rows. Digits upside down are exactly as bright as
# the others, and yet many more of them are taken for outliers. Most are not: many digits upside
# down look like digits.

detector = FlowOutlierDetector(contamination=0.05, random_state=0)
upside_down = X_test.reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)

labels = {
    "fitted": detector.fit_predict(X_train),  # each by flows that have not seen it
    "held out": detector.predict(X_test),
    "upside down": detector.predict(upside_down),
}
for name, label in labels.items():
    print(f"{name:12}{np.mean(label == -1):>5.0%} outliers")

# %%
# The likeliest of the held-out digits are plain and narrow, many of them ones. The unlikeliest are
# wide, slanted or flourished.

import matplotlib.pyplot as plt

log_density = detector.score_samples(X_test)
order = np.argsort(log_density)
figure, axes = plt.subplots(4, 10, figsize=(10, 4.8), layout="constrained")
chosen = np.concatenate([order[:20], order[:-21:-1]])
for ax, i in zip(axes.flat, chosen, strict=True):
    ax.imshow(np.floor(X_test[i]).reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(f"{log_density[i]:.0f}", fontsize=9, color="0.4")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
axes[0, 0].set_ylabel("least likely", rotation=0, ha="right", va="center")
axes[2, 0].set_ylabel("most likely", rotation=0, ha="right", va="center")
figure.suptitle("held-out digits and their log-density, in nats")
plt.show()

# %%
# Which pixels are to blame? ``explain`` says by how many nats the log-density would rise, in
# expectation, if a pixel alone were drawn anew, given the others. Much of it is ink at the edge,
# where there seldom is any, and gaps in strokes.

rows = X_test[order[:10]]
surprise = detector.explain(rows)

figure, axes = plt.subplots(2, 10, figsize=(10, 2.6), layout="constrained")
for ax, row, p in zip(axes[0], rows, detector.p_values(rows), strict=True):
    ax.imshow(np.floor(row).reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(f"p = {p:.4f}", fontsize=9, color="0.4")
for ax, entries in zip(axes[1], surprise, strict=True):
    image = ax.imshow(entries.reshape(8, 8), cmap="Reds", vmin=0, vmax=10)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
figure.colorbar(image, ax=axes[1], label="nats")
plt.show()
