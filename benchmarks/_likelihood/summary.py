"""What the results say: tables to print, and figures."""

from collections import defaultdict

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator

from .ablations import DEFAULT
from .tables import EQUAL_TIME, OWN
from .task import LEADER

__all__ = ["draw_curves", "draw_differences", "paired", "print_curves", "print_tables", "scores"]

# Published for the test images, for orientation: Gresele et al. (2020), table 1.
PUBLISHED_NATS = {
    "mnist": {"the paper's method, published": -1375.2, "MADE MoG, published": -1038.5}
}

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "0.4", "#000000")
_MARKERS = "osDv^P"


def label(row):
    terms = "" if row["terms"] in (OWN, EQUAL_TIME) else f" ({row['terms']})"
    return row["estimator"] + terms


def scores(rows):
    """Return the test nats by data set and estimator: a dict of seeds each.

    One that failed, or that has no density for some test row, has -inf.
    """
    table = defaultdict(dict)
    for row in rows:
        if row["status"] == "left out":
            continue
        nats = float(row["test_nats"]) if row["status"] == "ok" else -np.inf
        table[row["data"], label(row)][row["seed"]] = nats
    return table


def cell(nats):
    """Return mean ± standard deviation of those that are finite, and how many are not."""
    nats = np.array(list(nats))
    finite = nats[np.isfinite(nats)]
    if not len(finite):
        return "failed"
    spread = f" ± {finite.std(ddof=1):.2f}" if len(finite) > 1 else ""
    lost = len(nats) - len(finite)
    return f"{finite.mean():.2f}{spread}" + (f" ({lost} failed)" if lost else "")


def tail(rows):
    """Return the lowest score of any row, and the mean of those without the lowest 0.1 %.

    Empty where no fit has them: they are not in older files.
    """
    rows = [row for row in rows if row["status"] in ("ok", "infinite") and row.get("lowest_nats")]
    if not rows:
        return ""
    lowest = min(float(row["lowest_nats"]) for row in rows)
    trimmed = np.mean([float(row["trimmed_nats"]) for row in rows])
    return f"{lowest:>16.2f}{trimmed:>16.2f}"


TAIL_HEADING = f"{'lowest row':>16}{'without 0.1 %':>16}"


def print_tables(rows, leader=LEADER):
    """Print the means, and on how many sets the leader is above each of the others.

    Beside each mean are the lowest score of a row, and the mean without the lowest 0.1 %.

    Two estimators are compared over the seeds that both have. Who failed with one of them has
    lost on that set.
    """
    table = scores(rows)
    sets = list(dict.fromkeys(data for data, _ in table))
    estimators = list(dict.fromkeys(name for _, name in table))
    width = max(map(len, estimators)) + 2
    print("\ntest nats, mean ± standard deviation over the seeds")
    for data in sets:
        print(f"\n{data:{width + 32}}{TAIL_HEADING}")
        for name in estimators:
            if (data, name) in table:
                mine = [row for row in rows if (row["data"], label(row)) == (data, name)]
                print(f"  {name:{width}}{cell(table[data, name].values()):>30}{tail(mine)}")
    print(f"\nsets on which {leader} is above, and seeds")
    for name in estimators:
        if name == leader:
            continue
        pairs = [paired(table[data, leader], table[data, name]) for data in sets]
        pairs = [p for p in pairs if len(p)]
        if not pairs:
            continue
        won = sum(p[:, 0].mean() > p[:, 1].mean() for p in pairs)
        seeds = sum((p[:, 0] > p[:, 1]).sum() for p in pairs)
        n_seeds = sum(map(len, pairs))
        print(f"  {name:{width}}{won:>4} of {len(pairs):<5}{seeds:>5} of {n_seeds}")


def paired(ours, theirs):
    seeds = [seed for seed in ours if seed in theirs]
    return np.array([(ours[seed], theirs[seed]) for seed in seeds]).reshape(-1, 2)


def draw_differences(rows, path, *, leader=LEADER):
    """Draw by how much each estimator is below the leader, per column, on each set."""
    table = scores(rows)
    sets = list(dict.fromkeys(row["data"] for row in rows))
    n_features = {row["data"]: int(row["n_features"]) for row in rows}
    names = [name for name in dict.fromkeys(row["estimator"] for row in rows) if name != leader]
    figure, ax = plt.subplots(figsize=(9, 1.6 + 0.42 * len(sets)), layout="constrained")
    heights = np.arange(len(sets))[::-1]
    for k, name in enumerate(names):
        differences = []
        for data in sets:
            pairs = paired(table.get((data, leader), {}), table.get((data, name), {}))
            pairs = pairs[np.isfinite(pairs).all(1)]
            gap = (pairs[:, 1] - pairs[:, 0]).mean() if len(pairs) else np.nan
            differences.append(gap / n_features[data])
        offset = 0.3 * (1 - 2 * k / max(len(names) - 1, 1))
        ax.plot(
            differences,
            heights + offset,
            linestyle="none",
            marker=_MARKERS[k // len(_COLORS) % len(_MARKERS)],
            color=_COLORS[k % len(_COLORS)],
            markersize=5,
            label=name,
        )
    ax.axvline(0, color="0.3", linewidth=1)
    for height in heights[:-1]:
        ax.axhline(height - 0.5, color="0.9", linewidth=0.8, zorder=0)
    ax.set_xscale("symlog", linthresh=0.1)
    ax.set_yticks(heights, sets)
    ax.set_ylim(-0.6, len(sets) - 0.4)
    ax.set_xlabel(f"test nats per column, above {leader} (to the right) or below it")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    save(figure, path)


def print_curves(rows):
    ends = [row for row in rows if row["point"] == "end"]
    print("\nvalidation nats at the end of a fit, mean over the seeds")
    for data in dict.fromkeys(row["data"] for row in ends):
        print(f"\n{data:66}{TAIL_HEADING}")
        for (name, budget), nats in ends_of(ends, data).items():
            limit = f"{float(budget):.0f} s" if budget else ""
            key = (data, name, budget)
            mine = [row for row in ends if (row["data"], row["estimator"], row["budget"]) == key]
            print(f"  {name:30}{limit:>8}{cell(nats):>26}{tail(mine)}")


def ends_of(rows, data):
    """Return the final scores by estimator and budget: a list over the seeds."""
    table = defaultdict(list)
    for row in rows:
        if row["data"] == data and row["point"] == "end":
            nats = float(row["validation_nats"]) if row["status"] == "ok" else -np.inf
            table[row["estimator"], row["budget"]].append(nats)
    return table


def draw_curves(rows, data, path):
    """Draw where each fit ends over its seconds, and faintly how those got there that tell."""
    rows = [row for row in rows if row["data"] == data]
    ends = [row for row in rows if row["point"] == "end" and row["status"] == "ok"]
    if not ends:
        return
    figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
    levels = dict(PUBLISHED_NATS.get(data, {}))
    levels |= {r["estimator"]: float(r["validation_nats"]) for r in ends if not r["budget"]}
    styles = ("--", ":", "-.")
    for (name, nats), style in zip(levels.items(), styles, strict=False):
        ax.axhline(nats, color="0.5", linewidth=1, linestyle=style, label=name)
    names = list(dict.fromkeys(row["estimator"] for row in ends if row["budget"]))
    for k, name in enumerate(names):
        color = _COLORS[k % len(_COLORS)]
        mine = [row for row in ends if row["estimator"] == name]
        budgets = sorted({float(row["budget"]) for row in mine})
        points = [
            np.mean(
                [
                    (float(row["seconds"]), float(row["validation_nats"]))
                    for row in mine
                    if float(row["budget"]) == budget
                ],
                axis=0,
            )
            for budget in budgets
        ]
        ax.plot(*np.transpose(points), "o-", color=color, label=name, markersize=5)
        for budget in budgets:
            along = [
                (float(row["seconds"]), float(row["validation_nats"]))
                for row in rows
                if row["estimator"] == name
                and row["point"] == "along"
                and float(row["budget"]) == budget
                and row["seed"] == mine[0]["seed"]
            ]
            if along:
                ax.plot(*np.transpose(along), color=color, alpha=0.35, linewidth=1)
    values = [float(row["validation_nats"]) for row in ends] + list(levels.values())
    room = 0.08 * (max(values) - min(values)) or 1.0
    ax.set_ylim(min(values) - room, max(values) + room)
    ax.set_xscale("log")
    marks = sorted({float(row["budget"]) for row in ends if row["budget"]})
    ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("seconds of the fit")
    ax.set_ylabel("validation nats")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    save(figure, path)


def print_ablations(rows):
    print("\ntest nats above the default, mean over the seeds")
    table = scores(rows)
    sets = list(dict.fromkeys(data for data, _ in table))
    print(f"  {'':38}" + "".join(f"{data:>13}" for data in sets))
    for name in dict.fromkeys(name for _, name in table):
        cells = []
        for data in sets:
            pairs = paired(table.get((data, DEFAULT), {}), table.get((data, name), {}))
            if not len(pairs):
                cells.append(f"{'':13}")
                continue
            gap = pairs[:, 1].mean() if name == DEFAULT else (pairs[:, 1] - pairs[:, 0]).mean()
            cells.append(f"{gap:>13.2f}")
        print(f"  {name:38}" + "".join(cells))


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"drew {path.name}")
