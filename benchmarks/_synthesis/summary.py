"""What the results say: all values, and mean ranks of those who learn a distribution."""

from _tables.summary import mean_ranks, means

from .measure import MEASURES
from .peers import REFERENCES

__all__ = ["from_real_rows", "ranks_of", "summarize"]

# Lower is better. Of others, the least is not the best.
RANKED = ("wasserstein", "area", "outside", "fit_seconds", "sample_seconds")


def summarize(rows):
    """Print what has been measured.

    Parameters
    ----------
    rows : list of dict
    """
    for measure in (*MEASURES, "fit_seconds", "sample_seconds"):
        if not (found := means(rows, measure, case="seed")):
            continue
        names = list(dict.fromkeys(row["estimator"] for row in rows))
        print(f"\n{measure}: mean of the seeds")
        print(f"  {'':22}" + "".join(f"{name:>25}" for name in names))
        for data, by_name in found.items():
            cells = [
                f"{sum(values.values()) / len(values):.4g}" if values else ""
                for values in (by_name.get(name, {}) for name in names)
            ]
            print(f"  {data:22}" + "".join(f"{text:>25}" for text in cells))
        if measure in RANKED:
            print_ranks(rows, measure)
        if measure == "wasserstein" and (gaps := from_real_rows(rows)):
            print("  by how far it is from that of real rows, above or below:")
            print_ranks(gaps, measure)
    for row in rows:
        if row["status"] != "ok":
            print("{data}, seed {seed}, {estimator}: {status} {detail}".format(**row))


def ranks_of(rows, measure, without=()):
    """Return mean ranks over the tables that all contenders have values of.

    Parameters
    ----------
    rows : list of dict
    measure : str
    without : sequence of str, default=()
        Contenders that are left out, beside the references.

    Returns
    -------
    ranks : dict of str to float
    n_tables : int
    """
    left_out = {*REFERENCES, *without}
    ranked = [row for row in rows if row["estimator"] not in left_out]
    found = means(ranked, measure, case="seed")
    # Where the leader is alone, there is no rank.
    return mean_ranks({data: by for data, by in found.items() if len(by) > 1})


def from_real_rows(rows):
    """Return rows with the distance of their Wasserstein distance from that of real rows.

    A distance below that of real rows is no better: copies have it, and rows from the middle.

    Parameters
    ----------
    rows : list of dict

    Returns
    -------
    rows : list of dict
        Those that have a distance, of tables that real rows have one of.
    """
    own = {
        (row["data"], row["seed"]): float(row["wasserstein"])
        for row in rows
        if row["estimator"] == REFERENCES[0] and row["wasserstein"] != ""
    }
    return [
        row | {"wasserstein": abs(float(row["wasserstein"]) - own[row["data"], row["seed"]])}
        for row in rows
        if row["wasserstein"] != "" and (row["data"], row["seed"]) in own
    ]


def print_ranks(rows, measure):
    """Print ranks over the tables of all, and over more tables without who misses the most."""
    counts = {}
    for row in rows:
        counts[row["estimator"]] = counts.get(row["estimator"], 0) + (row[measure] != "")
    rarest = min(counts, key=counts.get)
    for without in ((), (rarest,)):
        ranks, n_tables = ranks_of(rows, measure, without)
        listed = ", ".join(f"{name} {ranks[name]:.2f}" for name in sorted(ranks, key=ranks.get))
        print(f"  mean ranks over {n_tables} tables: {listed}")
