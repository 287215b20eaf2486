"""The campaign of altered files, in short."""

import argparse
import json
import random
from importlib import import_module

import pytest

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture
def files(monkeypatch):
    files = import_module("_reliability.files")
    chosen = {name: files.ORIGINALS[name] for name in ("mixture", "checkpoint")}
    monkeypatch.setattr(files, "ORIGINALS", chosen)
    return files


def test_altered_files_are_refused_or_harmless(files, tmp_path, global_random_seed):
    parser = argparse.ArgumentParser()
    parser.set_defaults(results=tmp_path)
    files.add_arguments(parser)
    seed = str(1000 * global_random_seed)
    rows = files.run(parser.parse_args(["--files", "300", "--batch", "50", "--seed", seed]))
    assert sum(row["files"] for row in rows) == 300
    assert sum(row["refused"] for row in rows) >= 200
    for what in ("accident_opened", "other_error", "crash", "code", "large"):
        assert [row[what] for row in rows] == [0, 0], what


def test_what_ends_a_process_is_counted(files, tmp_path):
    class Ending:
        name = "ending"
        data = b"data"

        def open(self, path):
            files.os.kill(files.os.getpid(), files.signal.SIGKILL)

    assert files._in_a_process(Ending(), range(2), tmp_path) == {"crash": 1}


def test_a_forged_file_has_the_right_checksum(files, tmp_path):
    original = files.ORIGINALS["mixture"](tmp_path)
    assert files.with_checksum(original.data) == original.data
    forged = files.forged(original.data, random.Random(1))
    assert forged != original.data
    assert files.with_checksum(forged) == forged
    length = int.from_bytes(original.data[:8], "little")
    assert json.loads(original.data[8 : 8 + length])["__metadata__"]["kind"] == "model"
