"""
==================================
A table with one column held fixed
==================================

A table holds categories, whole numbers, zeros in heaps, shares and angles. One
:class:`~skflow.TableFlow` learns them together. It then makes rows like these, and rows of which
some columns are given.
"""

# %%
# Days at a counter of bicycles: whether it was a weekend, the temperature, where the wind came
# from, the share of the sky under clouds, the rain, and how many riders went by. Clouds bring
# rain, warmth brings riders, and rain and weekends keep them at home.

import numpy as np
import pandas as pd

from skflow import TableFlow
from skflow.tables import Bounded, Periodic

rng = np.random.default_rng(0)
n_days = 1200
weekend = rng.uniform(size=n_days) < 2 / 7
cloud = rng.beta(1.5, 1.5, size=n_days)
wind = np.rad2deg(rng.vonmises(np.deg2rad(340), 1.0, size=n_days)) % 360
temperature = rng.normal(14 + 4 * np.cos(np.deg2rad(wind - 180)), 6)
is_wet = rng.uniform(size=n_days) < 0.8 * cloud
rain = np.where(is_wet, rng.gamma(2, 3 * cloud), 0.0)
riders = rng.poisson(np.exp(4.2 + 0.04 * temperature - 0.05 * rain - 0.7 * weekend))
days = pd.DataFrame(
    {
        "day": np.where(weekend, "weekend", "weekday"),
        "temperature": temperature,
        "wind": wind,
        "cloud": cloud,
        "rain": rain,
        "riders": riders,
    }
)

# %%
# That the wind is an angle, and clouds a share, is declared. Everything else is found: the zeros
# of the rain have a mass of their own, and riders are counted.

table = TableFlow(
    {"wind": Periodic(360), "cloud": Bounded(0, 1)}, n_particles=3000, max_iter=40, random_state=0
).fit(days)
for name, kind in table.columns_.items():
    print(f"{name:12} {kind}")

# %%
# New days have the columns and types of the old ones.

made = table.sample(n_days, random_state=0)
made.head()

# %%
# The columns of both, one by one. The first bar of the rain is its heap at zero.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 3, figsize=(9, 4.8), layout="constrained")
for ax, name in zip(axes.flat, days.columns, strict=True):
    if name == "day":
        levels = ["weekday", "weekend"]
        for shift, frame, colour in ((-0.2, days, "0.7"), (0.2, made, "C0")):
            shares = [np.mean(frame[name] == level) for level in levels]
            ax.bar(np.arange(2) + shift, shares, width=0.4, color=colour)
        ax.set_xticks([0, 1], levels)
    else:
        bins = np.linspace(days[name].min(), days[name].max(), 31)
        ax.hist(days[name], bins, color="0.7", label="data")
        ax.hist(made[name], bins, histtype="step", color="C0", linewidth=1.5, label="made")
    ax.set(title=name, yticks=[])
    ax.spines[["top", "left", "right"]].set_visible(False)
axes[0, 1].legend(frameon=False)
plt.show()

# %%
# A row with gaps is a question. All is drawn but what it says: here a dry weekday, and a wet
# weekend. No model is fitted anew. Such weekends are rare, and few particles come to lie there. So
# there are more of them than the default of 200.

questions = pd.DataFrame(np.nan, index=range(2), columns=days.columns).astype({"day": object})
questions["day"] = ["weekday", "weekend"]
questions["rain"] = [0.0, 6.0]
fixed = table.sample_given(questions, n_samples=600, random_state=0)
is_weekend = fixed["day"] == "weekend"
fixed.iloc[[0, 1, 600, 601]]

# %%
# What is not fixed follows: the sky is clearer on dry days, and there are fewer riders on wet
# weekends than on dry weekdays that are as warm. Lines are the true means.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
grid = np.linspace(-5, 32, 100)
for part, name, colour in ((~is_weekend, "dry weekday", "C1"), (is_weekend, "wet weekend", "C0")):
    rows = fixed[part]
    axes[0].hist(
        rows["cloud"], 25, range=(0, 1), density=True, color=colour, alpha=0.5, label=name
    )
    axes[1].scatter(
        rows["temperature"], rows["riders"], s=5, color=colour, alpha=0.6, linewidths=0
    )
    wet, late = rows["rain"].iloc[0], name == "wet weekend"
    axes[1].plot(grid, np.exp(4.2 + 0.04 * grid - 0.05 * wet - 0.7 * late), color=colour)
axes[0].set(xlabel="cloud", yticks=[])
axes[0].legend(frameon=False)
axes[1].set(xlabel="temperature", ylabel="riders", ylim=(0, 280))
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The table also says how likely a row is, whatever is missing in it. Scores of rows with the same
# gaps compare: here, of weekends with two amounts of rain. A dry weekend does not compare with
# them, as no rain has a mass, and an amount has a density.

amounts = questions.iloc[[1, 1]].assign(rain=[1.0, 12.0])
log_prob, error = table.score_samples(amounts, return_error=True)
for amount, nats, by in zip(amounts["rain"], log_prob, error, strict=True):
    print(f"a weekend with {amount:g} of rain: {nats:.2f} nats, standard error {by:.2f}")
