r"""
=================================
What the defaults make of a table
=================================

Parameters that are "auto" follow from the number of rows and of columns. This page draws all of
them, so that you see what a fit of your table does before it starts.
"""

# %%
# One table
# ---------
#
# :func:`!resolve` says what a fit does. Here it is asked for 2,000 rows of 10 columns.

from dataclasses import asdict

from skflow import RelativeGradientFlow
from skflow.training.defaults import resolve

parameters = RelativeGradientFlow().get_params()
settings = resolve(parameters, 2000, 10)

for name, value in (asdict(settings.network) | asdict(settings.training)).items():
    print(f"{name:>16}  {value}")

# %%
# All sizes
# ---------
#
# Sizes grow with the number of rows and fall with the number of columns. Numbers of bins are
# powers of two, widths are multiples of 8, and batches are multiples of 32. So the curves have
# steps, and none of these is longer than one such unit.
#
# Couplings end at 256 columns, as their cost grows with the square of that number.

import matplotlib.pyplot as plt
import numpy as np

rows = np.unique(np.geomspace(50, 10**6, 400).astype(int))
panels = [
    ("network", "n_layers", "dense layers"),
    ("network", "n_hidden", "hidden units of a conditioner"),
    ("network", "n_bins", "bins of the first spline"),
    ("network", "n_coupling_bins", "bins of a coupling's splines"),
    ("training", "batch_size", "rows in a batch"),
    ("training", "max_iter", "epochs"),
    ("training", "input_noise", "noise, in standard deviations"),
    ("training", "weight_decay", "weight decay"),
]
columns = {2: "#56b4e9", 10: "#0072b2", 40: "#e69f00", 250: "#d55e00"}
widths = np.linspace(6, 1.5, len(columns))  # curves that coincide remain visible

figure, axes = plt.subplots(4, 2, figsize=(9, 11), layout="constrained", sharex=True)
for ax, (part, name, title) in zip(axes.flat, panels, strict=True):
    for (n_features, color), width in zip(columns.items(), widths, strict=True):
        values = [getattr(getattr(resolve(parameters, n, n_features), part), name) for n in rows]
        ax.plot(rows, values, color=color, linewidth=width, label=f"{n_features} columns")
    ax.set_xscale("log")
    ax.set_title(title, fontsize="medium")
    if name in ("input_noise", "weight_decay", "max_iter"):
        ax.set_yscale("log")
for ax in axes[-1]:
    ax.set_xlabel("rows")
axes[2, 0].legend(loc="lower right", frameon=False)
plt.show()

# %%
# What else follows
# -----------------
#
# Fewer than 2,000 rows are fitted again, every one of them, in the way that was best for those
# that were held out. With fewer than 1,000 rows, a fit tries two amounts of noise. A mixture of
# normal distributions is what the flow may start from: with up to 3 columns, and with fewer than
# 2,000 rows of up to 40 columns, where a flow that does not start from it is tried as well. With
# more rows of up to 32 columns, the mixture is compared with the end of the fit, and a second fit
# starts from it if it is better.

for n_rows, n_features in [(500, 10), (2000, 2), (2000, 10), (2000, 100)]:
    settings = resolve(parameters, n_rows, n_features)
    start = "mixture first" if settings.starts_simple else "flow first"
    rival = ", then compared with a mixture" if settings.has_rival else ""
    repeated = ", all rows in the end" if settings.refits else ""
    print(f"{n_rows:5,} rows of {n_features:3} columns: {start}{rival}{repeated}")
