"""What the results say: a table for each measure, and how often each contender is lowest."""

from collections import Counter, defaultdict

import numpy as np
from _likelihood.tables import EQUAL_TIME, OWN

from .measure import COVERAGES
from .splits import NOISY, RECORDED

__all__ = ["PUBLISHED", "lowest", "means", "print_sets"]

# Of the targets as recorded, on the same splits. The first are the lowest of deep ensembles,
# dropout and CARD in their papers; NGBoost has a protocol and splits of its own.
PUBLISHED = {
    "published, best": {
        **{"concrete": 2.93, "energy": 1.12, "kin8nm": -1.31},
        **{"power": 2.81, "wine": 0.87, "yacht": 0.89},
    },
    "published, NGBoost": {
        **{"concrete": 3.04, "energy": 0.60, "kin8nm": -0.49},
        **{"power": 2.79, "wine": 0.91, "yacht": 0.20},
    },
}

SECTIONS = (
    ("nll", NOISY, "mean test NLL in nats"),
    ("nll", RECORDED, "mean test NLL in nats, which has no lower bound where targets repeat"),
    ("crps", RECORDED, "CRPS"),
    ("crps", NOISY, "CRPS"),
    ("pit_p", NOISY, "p-value of uniform PIT (Kolmogorov-Smirnov)"),
    *((f"coverage_{c}", NOISY, f"coverage of the central interval of {c} %") for c in COVERAGES),
    ("width_90", NOISY, "mean width of the central interval of 90 %"),
    ("fit_seconds", NOISY, "seconds of a fit"),
)
COMPARED = ("nll", "crps")


def taken(rows):
    """Return for each data, targets, estimator and split its row: that of equal time, if any."""
    table = {}
    for row in rows:
        key = tuple(row[field] for field in ("data", "targets", "estimator", "split"))
        if key not in table or row["terms"] in (OWN, EQUAL_TIME):
            table[key] = row
    return table


def means(rows, measure, targets):
    """Return the values of a measure by estimator, data and split.

    Parameters
    ----------
    rows : list of dict
    measure, targets : str

    Returns
    -------
    values : dict of str to dict of str to dict of str to float
        Of fits that failed, and of estimators that do not have the measure, there are none.
    """
    values = defaultdict(lambda: defaultdict(dict))
    for (data, kind, estimator, split), row in taken(rows).items():
        if kind == targets and row[measure] != "":
            values[estimator][data][split] = float(row[measure])
    return {name: dict(of_data) for name, of_data in values.items()}


def splits_of(values):
    """Return the splits of each set that any estimator has."""
    splits = defaultdict(set)
    for of_data in values.values():
        for data, of_split in of_data.items():
            splits[data] |= of_split.keys()
    return splits


def lowest(values):
    """Return how often each estimator is lowest: in the mean of a set, and on a split.

    In the mean, of those that have all splits of the set.

    Parameters
    ----------
    values : dict
        Of :func:`means`.

    Returns
    -------
    of_sets, of_splits : Counter
    """
    by_set, by_split, splits = defaultdict(dict), defaultdict(dict), splits_of(values)
    for name, of_data in values.items():
        for data, of_split in of_data.items():
            if of_split.keys() == splits[data]:
                by_set[data][name] = np.mean(list(of_split.values()))
            for split, value in of_split.items():
                by_split[data, split][name] = value
    return tuple(
        Counter(min(found, key=found.get) for found in cases.values())
        for cases in (by_set, by_split)
    )


def cell(values, n_splits):
    """Return the mean and its standard error, and how many splits it is of, if not of all."""
    if not values:
        return ""
    values = np.array(list(values))
    text = f"{values.mean():.4g}"
    if len(values) > 1 and np.isfinite(values).all():
        text += f" ± {values.std(ddof=1) / np.sqrt(len(values)):.2g}"
    return text if len(values) == n_splits else f"{text} [{len(values)}]"


def print_line(name, cells):
    print(f"  {name:20}" + "".join(f"{text:>20}" for text in cells))


def print_sets(rows):
    """Print all tables: the mean over the splits of each set ± its standard error."""
    if not rows:
        return
    sets = list(dict.fromkeys(row["data"] for row in rows))
    failed = Counter(row["estimator"] for row in taken(rows).values() if row["status"] == "failed")
    for measure, targets, title in SECTIONS:
        values = means(rows, measure, targets)
        if not values:
            continue
        most = max(map(len, splits_of(values).values()))
        print(f"\n{title}: {targets} targets, mean ± standard error of {most} splits or [as many]")
        print_line("", sets)
        for name, of_data in values.items():
            print_line(name, [cell(of_data.get(data, {}).values(), most) for data in sets])
        if (measure, targets) == ("nll", RECORDED):
            for name, of_data in PUBLISHED.items():
                print_line(name, [f"{of_data[d]:.2f}" if d in of_data else "" for d in sets])
        if measure in COMPARED:
            of_sets, of_splits = lowest(values)
            counts = [
                f"{name} {of_sets[name]} of {of_sets.total()} sets and {count} of "
                f"{of_splits.total()} splits"
                for name, count in of_splits.most_common()
            ]
            print("  lowest: " + "; ".join(counts))
    for name, count in failed.items():
        print(f"\n{name}: {count} fits failed")
