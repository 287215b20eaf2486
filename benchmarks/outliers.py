"""Outliers in real tables, beside other detectors; and how often new inliers are taken for some.

- `ranks`: 23 tables whose outliers are known. Each detector is fitted to all rows of a table,
  without the labels, and ranks these rows: area under the ROC curve and average precision. Ours
  has its defaults. It goes by a density, which repeated values make unbounded, and is given the
  tables as `likelihood.py` has them: integers are dequantised, and each column has noise of a
  hundredth of its standard deviation. The others are given the tables as they are, and the kernel
  density at most 10,000 rows to fit. What else was considered for ours is measured on every other
  table, by which it was chosen.
- `false_alarms`: detectors are fitted to at most 1,000 inliers alone, and score as many as 3,000
  others. Which share of these has a p-value of no more than 0.01, 0.05 and 0.1? Beside our
  default, with one split in place of five fits, and with the rows that the density was fitted to
  in place of those that were held out.
- `summary`: prints what there is.

A fit's rows are written to a CSV file in `benchmarks/results` as soon as they are measured, and a
command that is called again does not repeat what is there.

    python benchmarks/outliers.py ranks --data-dir DIR
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _common import RESULTS, run_by_one_thread
from _data import OUTLIER_TABLES, TABLES, load_labelled_table
from _likelihood.rows import Rows
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from skflow import FlowOutlierDetector, LogarithmicPool, RelativeGradientFlow

SETS = (*TABLES, *OUTLIER_TABLES)
CHOSEN_BY = (*TABLES[::2], *OUTLIER_TABLES[::2])
OURS = "skflow"
RANK_FIELDS = (
    *("data", "half", "detector", "n_rows", "n_features", "n_outliers"),
    *("roc_auc", "average_precision", "seconds"),
)
ALARM_FIELDS = (
    *("data", "detector", "n_fitted", "n_calibration", "n_new", "alpha"),
    *("false_alarms", "standard_error", "seconds"),
)
MOST_FITTED, MOST_NEW = 1000, 3000
MOST_KERNELS = 10_000


def detector_scores(X, estimator=None):
    return FlowOutlierDetector(estimator, random_state=0).fit(X).score_fitted_rows()


def flow_alone(X):
    return detector_scores(X, RelativeGradientFlow())


def fitted_rows(X):
    pool = LogarithmicPool(RelativeGradientFlow(random_state=0))
    return pool.fit(X).score_samples(X)


def local_outlier_factor(X):
    return LocalOutlierFactor().fit(X).negative_outlier_factor_


def ecod(X):
    from pyod.models.ecod import ECOD

    return -ECOD().fit(X).decision_scores_


def copod(X):
    from pyod.models.copod import COPOD

    return -COPOD().fit(X).decision_scores_


def kernels(X):
    from pyod.models.kde import KDE

    some = np.random.default_rng(0).permutation(len(X))[:MOST_KERNELS]
    return -KDE().fit(X[some]).decision_function(X)


# Each returns scores of the rows, high for inliers.
PEERS = {
    "IsolationForest": lambda X: IsolationForest(random_state=0).fit(X).score_samples(X),
    "LOF": local_outlier_factor,
    "LOF, standardised": lambda X: local_outlier_factor(StandardScaler().fit_transform(X)),
    "ECOD": ecod,
    "COPOD": copod,
    "KDE": kernels,
}
CANDIDATES = {
    f"{OURS}, flow alone": flow_alone,
    f"{OURS}, fitted rows": fitted_rows,
}


def half(name):
    return "chosen by" if name in CHOSEN_BY else "confirmed on"


def some_rows(X, smooth, y, most_rows):
    """Take so many rows at random, without the columns that are constant among them."""
    if most_rows is None or len(X) <= most_rows:
        return X, smooth, y
    some = np.sort(np.random.default_rng(0).permutation(len(X))[:most_rows])
    X, smooth, y = X[some], smooth[some], y[some]
    varies = np.ptp(X, axis=0) > 0
    return X[:, varies], smooth[:, varies], y


def run_ranks(arguments):
    table = Rows(arguments.results / "outliers.csv", RANK_FIELDS)
    for name in arguments.sets:
        X, smooth, y = some_rows(
            *load_labelled_table(arguments.data_dir, name), arguments.most_rows
        )
        detectors = {OURS: detector_scores, **PEERS}
        if name in CHOSEN_BY:
            detectors |= CANDIDATES
        for detector, scores in detectors.items():
            if table.find(data=name, detector=detector):
                continue
            started = time.perf_counter()
            inlying = scores(smooth if detector.startswith(OURS) else X)
            table.append(
                {
                    "data": name,
                    "half": half(name),
                    "detector": detector,
                    "n_rows": len(X),
                    "n_features": X.shape[1],
                    "n_outliers": y.sum(),
                    "roc_auc": round(roc_auc_score(y, -inlying), 4),
                    "average_precision": round(average_precision_score(y, -inlying), 4),
                    "seconds": round(time.perf_counter() - started, 1),
                }
            )
            print("{data:12} {detector:22} {roc_auc}".format(**table.rows[-1]), flush=True)
    print_ranks(table.rows)


def five_fits(fitted, new):
    detector = FlowOutlierDetector(random_state=0).fit(fitted)
    return detector.p_values(new), len(fitted)


def one_split(fitted, new):
    cv = ShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
    detector = FlowOutlierDetector(cv=cv, random_state=0).fit(fitted)
    return detector.p_values(new), len(detector.calibration_scores_)


def without_calibration(fitted, new):
    pool = LogarithmicPool(RelativeGradientFlow(random_state=0)).fit(fitted)
    of_fitted = np.sort(pool.score_samples(fitted))
    n_as_low = np.searchsorted(of_fitted, pool.score_samples(new), side="right")
    return (1 + n_as_low) / (1 + len(fitted)), len(fitted)


CALIBRATIONS = {
    OURS: five_fits,
    f"{OURS}, one split": one_split,
    f"{OURS}, fitted rows": without_calibration,
}


def run_false_alarms(arguments):
    table = Rows(arguments.results / "outliers_false_alarms.csv", ALARM_FIELDS)
    for name in arguments.sets:
        _, smooth, y = load_labelled_table(arguments.data_dir, name)
        inliers = np.random.default_rng(0).permutation(smooth[~y])
        n_fitted = min(MOST_FITTED, 2 * len(inliers) // 3)
        fitted, new = inliers[:n_fitted], inliers[n_fitted : n_fitted + MOST_NEW]
        for detector, p_values in CALIBRATIONS.items():
            if table.find(data=name, detector=detector):
                continue
            started = time.perf_counter()
            p, n_calibration = p_values(fitted, new)
            seconds = time.perf_counter() - started
            for alpha in (0.01, 0.05, 0.1):
                # Of the share, and of the quantile that calibration finds.
                error = np.sqrt(alpha * (1 - alpha) * (1 / len(new) + 1 / n_calibration))
                table.append(
                    {
                        "data": name,
                        "detector": detector,
                        "n_fitted": n_fitted,
                        "n_calibration": n_calibration,
                        "n_new": len(new),
                        "alpha": alpha,
                        "false_alarms": round(np.mean(p <= alpha), 4),
                        "standard_error": round(error, 4),
                        "seconds": round(seconds, 1),
                    }
                )
            print(f"{name:12} {detector:22} {np.mean(p <= 0.05):.3f} at 0.05", flush=True)
    print_false_alarms(table.rows)


def print_ranks(rows):
    """Print areas, and means and mean ranks of what is measured on all of a group's tables."""
    auc, precision = (
        {(r["data"], r["detector"]): float(r[field]) for r in rows}
        for field in ("roc_auc", "average_precision")
    )
    names = list(dict.fromkeys(r["data"] for r in rows))
    detectors = [OURS, *PEERS]
    complete = [name for name in names if all((name, d) in auc for d in detectors)]
    print("\narea under the ROC curve")
    print(f"{'':14}" + "".join(f"{d:>22}" for d in [*detectors, *CANDIDATES]))
    for name in names:
        cells = [auc.get((name, d)) for d in [*detectors, *CANDIDATES]]
        print(f"{name:14}" + "".join(f"{'' if c is None else c:>22}" for c in cells))
    groups = {
        "all": complete,
        **{
            group: [name for name in complete if half(name) == group]
            for group in ("chosen by", "confirmed on")
        },
    }
    for group, members in groups.items():
        if not members:
            continue
        print(f"\n{group}: {len(members)} tables")
        for title, measured in (("area", auc), ("average precision", precision)):
            values = np.array([[measured[name, d] for d in detectors] for name in members])
            ranks = rankdata(-values, axis=1).mean(axis=0)
            for d, mean, rank in zip(detectors, values.mean(axis=0), ranks, strict=True):
                print(f"  {d:22}mean {title:18}{mean:.3f}   mean rank {rank:.2f}")


def print_false_alarms(rows):
    print("\nshare of new inliers whose p-value is no more than alpha")
    for detector in CALIBRATIONS:
        for alpha in ("0.01", "0.05", "0.1"):
            mine = [r for r in rows if (r["detector"], r["alpha"]) == (detector, alpha)]
            if not mine:
                continue
            shares, errors = (
                np.array([float(r[field]) for r in mine])
                for field in ("false_alarms", "standard_error")
            )
            above = np.sum(shares > float(alpha) + 2 * errors)
            error = np.sqrt((errors**2).sum()) / len(mine)
            print(
                f"  {detector:22} alpha {alpha:5} mean {shares.mean():.4f} ± {error:.4f}, "
                f"from {shares.min():.4f} to {shares.max():.4f}, more than two standard errors "
                f"above alpha on {above} of {len(mine)} tables"
            )


def run_summary(arguments):
    for part, fields, show in (
        ("outliers", RANK_FIELDS, print_ranks),
        ("outliers_false_alarms", ALARM_FIELDS, print_false_alarms),
    ):
        if rows := Rows(arguments.results / f"{part}.csv", fields).rows:
            show(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (
        ("ranks", run_ranks),
        ("false_alarms", run_false_alarms),
        ("summary", run_summary),
    ):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
        if name != "summary":
            sub.add_argument("--data-dir", type=Path, required=True)
            sub.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
        if name == "ranks":
            sub.add_argument("--most-rows", type=int, help="take so many of a table, at random")
    run_by_one_thread(parser.parse_args())


if __name__ == "__main__":
    main()
