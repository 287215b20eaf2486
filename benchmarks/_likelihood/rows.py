"""A table of results that grows by a row as soon as it is measured, and can be taken up again."""

import csv
import os

from _common import provenance

__all__ = ["Rows"]


class Rows:
    """The rows of a CSV file, below the provenance of the run that began it.

    Parameters
    ----------
    path : Path
        Read if it is there.
    fields : sequence of str
        The columns. A file with others is refused, so that none is mixed up.
    """

    def __init__(self, path, fields):
        self.path, self.fields, self.rows = path, list(fields), []
        if path.exists():
            self._read()

    def find(self, **key):
        """Return the first row with these values, or None."""
        for row in self.rows:
            if all(row[field] == str(value) for field, value in key.items()):
                return row
        return None

    def append(self, row):
        """Add a row, here and at the end of the file."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w", newline="", encoding="utf-8") as file:
                file.writelines(f"# {line}\n" for line in provenance())
                csv.writer(file, lineterminator="\n").writerow(self.fields)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.fields, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())  # hours of fits are worth it
        self.rows.append({field: str(row[field]) for field in self.fields})

    def _read(self):
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            if reader.fieldnames != self.fields:
                raise ValueError(
                    f"{self.path} has the columns {reader.fieldnames} instead of {self.fields}. "
                    "Move it away, or write to another folder with --results."
                )
            self.rows = list(reader)
