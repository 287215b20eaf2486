"""A table of results that grows by a row as soon as it is measured, and can be taken up again."""

import csv
import os

from _common import provenance

__all__ = ["NEWER_FIELDS", "Rows"]

# Files that were begun before there were these have none of them.
NEWER_FIELDS = ("lowest_nats", "trimmed_nats")


class Rows:
    """The rows of a CSV file, below the provenance of the run that began it.

    Parameters
    ----------
    path : Path
        Read if it is there.
    fields : sequence of str
        The columns. A file with others is refused, so that none is mixed up. One that lacks
        `NEWER_FIELDS` alone has empty ones, and is written anew when a row is added.
    """

    def __init__(self, path, fields):
        self.path, self.fields, self.rows = path, list(fields), []
        self._lacks_fields = False
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
        if self._lacks_fields:
            self._write_anew()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.fields, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())  # hours of fits are worth it
        self.rows.append({field: str(row.get(field, "")) for field in self.fields})

    def _write_anew(self):
        """Give the file all columns, and keep what stands above them."""
        with self.path.open(newline="", encoding="utf-8") as file:
            comments = [line for line in file if line.startswith("#")]
        beside = self.path.with_suffix(".new")
        with beside.open("w", newline="", encoding="utf-8") as file:
            file.writelines(comments)
            writer = csv.DictWriter(file, self.fields, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        beside.replace(self.path)
        self._lacks_fields = False

    def _read(self):
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            older = [field for field in self.fields if field not in NEWER_FIELDS]
            self._lacks_fields = reader.fieldnames == older != self.fields
            if reader.fieldnames != self.fields and not self._lacks_fields:
                raise ValueError(
                    f"{self.path} has the columns {reader.fieldnames} instead of {self.fields}. "
                    "Move it away, or write to another folder with --results."
                )
            self.rows = [{field: row.get(field, "") for field in self.fields} for row in reader]
