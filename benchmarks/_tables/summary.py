"""What the results say: means by table and contender, and ranks."""

from collections import Counter, defaultdict

import numpy as np

__all__ = ["mean_ranks", "means", "print_means"]


def means(rows, measure, key="estimator", case="split"):
    """Return the values of a measure, by data, contender and case.

    Parameters
    ----------
    rows : list of dict
    measure, key, case : str
        Columns.

    Returns
    -------
    values : dict of str to dict of str to dict of str to float
    """
    values = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row[measure] != "":
            values[row["data"]][row[key]][row[case]] = float(row[measure])
    return {data: dict(found) for data, found in values.items()}


def mean_ranks(values, *, highest=False):
    """Return the mean rank of each contender over the tables where all of them have a value.

    Contenders that have values of less than half of the tables are left out.

    Parameters
    ----------
    values : dict
        Of :func:`means`.
    highest : bool, default=False
        Whether the highest value is the first one.

    Returns
    -------
    ranks : dict of str to float
    n_tables : int
    """
    counts = Counter(name for found in values.values() for name in found)
    names = [name for name, count in counts.items() if count >= len(values) / 2]
    whole = [found for found in values.values() if set(found) >= set(names)]
    if not whole:
        return {}, 0
    table = np.array([[np.mean(list(found[name].values())) for name in names] for found in whole])
    table = -table if highest else table
    ranks = 1 + (table[:, None] < table[..., None]).sum(-1)
    return dict(zip(names, ranks.mean(0), strict=True)), len(whole)


def print_means(values, title, *, highest=False):
    """Print a line for each table, and the mean ranks.

    Parameters
    ----------
    values : dict
        Of :func:`means`.
    title : str
    highest : bool, default=False
        Whether the highest value is the first one.
    """
    names = list(dict.fromkeys(name for found in values.values() for name in found))
    print(f"\n{title}: mean ± standard error of the splits [how many]")
    print(f"  {'':22}" + "".join(f"{name:>24}" for name in names))
    for data, found in values.items():
        cells = [cell(list(found.get(name, {}).values())) for name in names]
        print(f"  {data:22}" + "".join(f"{text:>24}" for text in cells))
    ranks, n_tables = mean_ranks(values, highest=highest)
    listed = sorted(ranks, key=ranks.get)
    print(
        f"  mean ranks over {n_tables} tables: " + ", ".join(f"{n} {ranks[n]:.2f}" for n in listed)
    )


def cell(values):
    if not values:
        return ""
    text = f"{np.mean(values):.4g}"
    if len(values) > 1 and np.isfinite(values).all():
        text += f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.1g}"
    return f"{text} [{len(values)}]"
