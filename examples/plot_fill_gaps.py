"""
===========================
Filling the gaps of a table
===========================

A gap is often filled with a mean. The mean may be a value that never occurs, and a table that is
filled with means varies less than the data do. :class:`~skflow.TableFlow` draws what may have
stood there, given whatever is left of the row.
"""

# %%
# Readings of a meter: the day, the hour and the power. On weekdays the power has its peak in the
# evening, and on weekends a broad one at noon. The hour comes round after 24. Nobody can see that
# from the numbers, and so it is declared.

import numpy as np
import pandas as pd

from skflow import TableFlow
from skflow.tables import Periodic


def mean_power(day, hour):
    at, height = np.where(day == "weekend", 12, 19), np.where(day == "weekend", 2, 3)
    return 1 + height * np.exp(3 * (np.cos(2 * np.pi * (hour - at) / 24) - 1))


rng = np.random.default_rng(0)
day = rng.choice(["weekday", "weekend"], size=1000, p=[5 / 7, 2 / 7])
hour = rng.uniform(0, 24, size=1000)
power = mean_power(day, hour) + 0.25 * rng.normal(size=1000)
truth = pd.DataFrame({"day": day, "hour": hour, "power": power})
gaps = rng.uniform(size=truth.shape) < [0.1, 0.2, 0.2]
frame = truth.mask(gaps)
frame.head()

# %%
# Rows with gaps are fitted with what there is of them.

table = TableFlow({"hour": Periodic(24)}, random_state=0).fit(frame)
print(table.columns_)

# %%
# Each gap is filled with one draw, or with a mean. The orange points had a gap in the hour or in
# the power. Draws lie about where the data lie. Means lie between the two hours of the same power,
# where there is hardly any row.

import matplotlib.pyplot as plt

filled = {
    "the truth": truth,
    "one draw": table.sample_given(frame, random_state=0),
    "the mean": table.impute(frame),
}
had_gap = gaps[:, 1] | gaps[:, 2]
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, (name, rows) in zip(axes, filled.items(), strict=True):
    for part, colour in ((~had_gap, "0.75"), (had_gap, "C1")):
        ax.scatter(rows["hour"][part], rows["power"][part], s=5, color=colour, linewidths=0)
    ax.set(title=name, xlabel="hour", xticks=[0, 6, 12, 18, 24], xlim=(0, 24))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("power")
plt.show()

# %%
# What does one row say of its hour? Three questions, each a row with gaps. Of the last one the day
# is missing as well. The grey line is the truth, by Bayes' formula on a grid. Draws find the hours
# that are possible, but do not lie as close to them: a weekend of such a power is in few rows of a
# thousand.

questions = pd.DataFrame(
    {"day": ["weekday", "weekend", None], "hour": [np.nan] * 3, "power": [2.6, 2.2, 2.2]}
)
draws = table.sample_given(questions, n_samples=1000, random_state=0)
hours = draws["hour"].to_numpy().reshape(3, -1)
grid = np.linspace(0, 24, 480, endpoint=False)


def true_density(day, power):
    days = {"weekday": 5 / 7, "weekend": 2 / 7} if day is None else {day: 1}
    density = sum(
        share * np.exp(-0.5 * ((power - mean_power(which, grid)) / 0.25) ** 2)
        for which, share in days.items()
    )
    return density / (density.mean() * 24)


figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
for ax, row, drawn in zip(axes, questions.itertuples(), hours, strict=True):
    known = row.day if isinstance(row.day, str) else None
    ax.hist(drawn, bins=48, range=(0, 24), density=True, color="C1", alpha=0.7, label="draws")
    ax.plot(grid, true_density(known, row.power), color="0.3", label="truth")
    ax.set(title=f"{known or 'any day'}, power {row.power:g}", xlabel="hour", yticks=[])
    ax.set_xticks([0, 6, 12, 18, 24])
    ax.spines[["top", "left", "right"]].set_visible(False)
axes[0].legend(frameon=False, loc="upper left")
plt.show()

# %%
# Are draws as wide as they should be? Nine tenths of the true values should lie between the
# quantiles of 5 % and 95 % of a hundred draws. The mean has the smaller squared error, which is
# what it is made for, and too small a spread.

of_power = np.flatnonzero(gaps[:, 2])
draws = table.sample_given(frame.iloc[of_power], n_samples=100, random_state=0)
powers = draws["power"].to_numpy().reshape(len(of_power), -1)
lower, upper = np.quantile(powers, [0.05, 0.95], axis=1)
true_powers = truth["power"].to_numpy()[of_power]
print(f"{np.mean((lower <= true_powers) & (true_powers <= upper)):.0%} lie in intervals of 90 %")
for name, rows in filled.items():
    there = rows["power"].to_numpy()[of_power]
    error = np.sqrt(np.mean((there - true_powers) ** 2))
    print(f"{name:10} root mean squared error {error:.2f}, spread {there.std():.2f}")
