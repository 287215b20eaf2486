"""The campaign of other processors, in short."""

import argparse
from importlib import import_module

import pytest


@pytest.mark.slow  # kernels are compiled for each processor
def test_scores_are_those_of_other_processors(monkeypatch, tmp_path):
    processors = import_module("_reliability.processors")
    chosen = {name: processors.PROCESSORS[name] for name in ("this one", "SSE2")}
    monkeypatch.setattr(processors, "PROCESSORS", chosen)
    parser = argparse.ArgumentParser()
    parser.set_defaults(results=tmp_path)
    processors.add_arguments(parser)
    only = ["--only", "affine couplings, float64"]
    rows = processors.run(parser.parse_args(["--rows", "80", *only]))
    assert len(rows) == 4
    for row in rows:
        assert float(row["largest_difference_float64"]) == pytest.approx(0, abs=1e-10)
        # At rows far out, a score of 1,000 nats has no more than four digits behind the point.
        assert float(row["largest_difference_float32"]) == pytest.approx(0, abs=1e-3)
