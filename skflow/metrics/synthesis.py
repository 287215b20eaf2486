"""How good a synthetic table is, and whether it copies rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skflow._sklearn.codes import CategoryCoder
from skflow.metrics.nearest_rows import NearestRowResult, nearest_row_test
from skflow.metrics.table_drift import DriftResult, drift

__all__ = ["SynthesisReport", "synthesis_report"]

_TABLE = "table"


@dataclass(frozen=True)
class SynthesisReport:
    """What :func:`synthesis_report` returns. Printed, it is a report to read.

    Attributes
    ----------
    quality : float
        The score of quality of SDMetrics, from 0 to 1: the mean of `column_shapes` and
        `column_pair_trends`.
    column_shapes : float
        How much the distribution of each column is like that of the fitted rows, from 0 to 1.
    column_pair_trends : float
        How much columns depend on each other as those of the fitted rows do, from 0 to 1. NaN if
        no two columns there do.
    validity : float
        The share of entries that are in the range of the fitted numbers, or among the fitted
        categories.
    columns : list of shape (n_features,)
        The names of the columns if there are any, else their positions.
    column_shape : ndarray of shape (n_features,)
        `column_shapes`, column by column. NaN where there is none.
    column_validity : ndarray of shape (n_features,)
        `validity`, column by column.
    drift : DriftResult
        Whether a classifier tells synthetic rows from the rows that were held out, or from the
        fitted ones if none were: its ``statistic`` is an area under the ROC curve, 0.5 by chance.
    nearest_rows : NearestRowResult or None
        Whether synthetic rows are copies; None without rows that were held out.
    """

    quality: float
    column_shapes: float
    column_pair_trends: float
    validity: float
    columns: list[Any]
    column_shape: NDArray[np.float64]
    column_validity: NDArray[np.float64]
    drift: DriftResult
    nearest_rows: NearestRowResult | None

    def __str__(self) -> str:
        lines = [
            f"quality             {self.quality:5.2f}",
            f"  column shapes     {self.column_shapes:5.2f}",
            f"  column pairs      {self.column_pair_trends:5.2f}",
            f"validity            {self.validity:5.2f}",
            f"told apart          {self.drift.statistic:5.2f}  by chance 0.50, "
            f"p-value {self.drift.pvalue:.2g}",
        ]
        if self.nearest_rows is not None:
            near = self.nearest_rows
            lines += [
                f"nearest to fitted   {near.statistic:5.2f}  by chance {near.expected:.2f}, "
                f"p-value {near.pvalue:.2g}",
                f"copies              {near.n_copies:5d}  "
                f"{near.n_held_out_copies} of the rows that were held out",
            ]
        width = max(6, *(len(str(name)) for name in self.columns))
        lines += ["", f"{'column':{width}}  shape  validity"]
        for name, shape, valid in zip(
            self.columns, self.column_shape, self.column_validity, strict=True
        ):
            lines.append(f"{name!s:{width}}  {shape:5.2f}  {valid:8.2f}")
        return "\n".join(lines)


def synthesis_report(
    synthetic: Any, fitted: Any, held_out: Any = None, *, random_state: Any = None
) -> SynthesisReport:
    """Report how good a synthetic table is, and whether it copies rows.

    Scores of quality and validity are those of SDMetrics [1]_, which the extra ``synthesis``
    brings. They compare columns and pairs of columns. A classifier sees differences between all
    of them together, and :func:`nearest_row_test` sees copies.

    Read more in the :ref:`User Guide <synthetic_tables>`.

    Parameters
    ----------
    synthetic : array-like of shape (n_synthetic, n_features)
        Rows that were made: an array of numbers, or a frame with categories, dates and missing
        entries.
    fitted : array-like of shape (n_fitted, n_features)
        The rows that the model has seen, with the same columns.
    held_out : array-like of shape (n_held_out, n_features) or None, default=None
        Rows of the same distribution that it has not seen. Without them, nobody can tell a copy
        from a good table.
    random_state : int, RandomState instance or None, default=None
        Determines the classifier and the permutations. Pass an int for the same result each time.

    Returns
    -------
    report : SynthesisReport
        The scores. ``print(report)`` is a table of them.

    Raises
    ------
    ImportError
        If there is no SDMetrics.
    ValueError
        If the tables have different columns, or one has fewer than five rows.

    See Also
    --------
    drift : Which columns have another distribution, with p-values.
    nearest_row_test : Whether rows are copies, and how near they are.

    Notes
    -----
    SDMetrics is told which columns are numbers, dates among them, and which are categories. The
    score of a column is one minus its Kolmogorov-Smirnov statistic, or the total variation
    distance of its categories. SDMetrics leaves pairs of columns out that hardly depend on each
    other in the fitted rows.

    A range is that of the fitted rows. New rows exceed it now and then: real ones, too.

    References
    ----------
    .. [1] DataCebo, "Synthetic Data Metrics", https://docs.sdv.dev/sdmetrics.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skflow.metrics import synthesis_report
    >>> def towns(seed, n=300):
    ...     rng = np.random.default_rng(seed)
    ...     town = rng.choice(["A", "B", "C"], n, p=[.5, .3, .2])
    ...     return pd.DataFrame({"town": town, "rent": rng.normal(8 + 4 * (town == "A"))})
    >>> made, fitted, held_out = (towns(seed) for seed in range(3))
    >>> report = synthesis_report(made, fitted, held_out, random_state=0)  # doctest: +SKIP
    >>> print(f"{report.validity:.1f} {report.drift.statistic:.1f}")  # doctest: +SKIP
    1.0 0.5
    """
    quality_report, diagnostic_report = _reports()
    rng = check_random_state(random_state)
    coder = CategoryCoder().fit(fitted, synthetic)
    tables = [_plain(coder, X) for X in (fitted, synthetic)]
    sdtypes = {
        name: {"sdtype": "categorical" if is_category else "numerical"}
        for name, is_category in zip(tables[0], coder.is_category_, strict=True)
    }
    quality = _generated(quality_report(), tables, sdtypes)
    validity = _generated(diagnostic_report(), tables, sdtypes)
    shapes = _by_column(quality, "Column Shapes", tables[0])
    valid = _by_column(validity, "Data Validity", tables[0])
    scores = quality.get_properties().set_index("Property")["Score"]
    names = getattr(coder, "feature_names_in_", range(coder.n_features_in_))
    compared = fitted if held_out is None else held_out
    return SynthesisReport(
        quality=float(quality.get_score()),
        column_shapes=float(scores["Column Shapes"]),
        column_pair_trends=float(scores["Column Pair Trends"]),
        validity=float(valid.mean()),
        columns=list(names),
        column_shape=shapes,
        column_validity=valid,
        drift=drift(compared, synthetic, random_state=rng),
        nearest_rows=None
        if held_out is None
        else nearest_row_test(synthetic, fitted, held_out, random_state=rng),
    )


def _reports() -> tuple[Any, Any]:
    """Return the classes of the reports of SDMetrics."""
    try:
        from sdmetrics.reports import DiagnosticReport, QualityReport
    except ImportError as error:
        raise ImportError(
            "synthesis_report needs SDMetrics. Install it, or skflow with its extra 'synthesis'."
        ) from error
    return QualityReport, DiagnosticReport


def _plain(coder: CategoryCoder, X: Any) -> Any:
    """Return a frame of pandas whose columns are floats, or codes as strings."""
    import pandas as pd

    columns = {}
    for j, column in enumerate(coder.transform(X).T):
        written = [None if code != code else f"{code:.0f}" for code in column]
        columns[str(j)] = written if coder.is_category_[j] else column
    return pd.DataFrame(columns)


def _generated(report: Any, tables: list[Any], sdtypes: dict[str, dict[str, str]]) -> Any:
    """Return a report of SDMetrics on the fitted rows and the synthetic ones."""
    real, synthetic = ({_TABLE: table} for table in tables)
    metadata = {"tables": {_TABLE: {"columns": sdtypes}}}
    report.num_rows_subsample = None  # which would take rows from NumPy's global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scores that are NaN, as they will be seen to be
        report.generate(real, synthetic, metadata, verbose=False)
    return report


def _by_column(report: Any, part: str, table: Any) -> NDArray[np.float64]:
    """Return the scores of the columns, in their order."""
    scores = report.get_details(part).set_index("Column")["Score"]
    found: NDArray[np.float64] = scores.reindex(table.columns).to_numpy(np.float64)
    return found
