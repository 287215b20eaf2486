"""What a step costs at scale: the model counts what is sent, and the page has its figures."""

import sys
from importlib import import_module

import pytest


@pytest.fixture
def script(monkeypatch, tmp_path, results):
    """Return a function that runs a part of the benchmark, and what it wrote."""

    def run(what, *arguments, **sizes):
        module = import_module("scaling")
        for name, value in ({"STATIC": tmp_path} | sizes).items():
            monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(sys, "argv", ["", what, "--results", str(tmp_path), *arguments])
        module.main()
        return results(f"scaling_{what}", tmp_path)

    return run


@pytest.mark.slow  # processes that import all there is
def test_bytes_are_those_that_the_model_counts(script):
    sizes = {"MEASURED": [(16, 40), (40, 16)], "RANKS_HERE": (1, 2)}
    rows = script("measured", "--steps", "2", **sizes)
    assert len(rows) == 4
    assert all(row["received_bytes"] == row["predicted_bytes"] for row in rows)
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_the_committed_model_is_that_of_the_code(script, results):
    assert script("modelled") == results("scaling_modelled")


def test_a_step_of_one_process_sends_nothing():
    model = import_module("_scaling.model")
    alone = model.Step(n_rows=64, n_features=1000, n_layers=2, n_ranks=1)
    assert all(model.cost(method, alone).received == 0 for method in model.METHODS)
    assert all(model.cost(method, alone).n_messages == 0 for method in model.METHODS)


def shown(row):
    """Return the seconds as the page has them: in brackets where weights exceed the memory."""
    seconds = row["seconds"]
    if float(seconds) >= 1000:
        seconds = f"{float(seconds):,.0f}"
    return seconds if row["fits"] == "1" else rf"\({seconds})"  # no item of a list


def test_figures_of_the_page(results, page):
    said, ratios = page("scaling"), []
    for row in results("scaling_measured"):
        assert row["received_bytes"] == row["predicted_bytes"]
        cells = [f"{int(row[name]):,}" for name in ("n_rows", "n_features", "n_ranks")]
        cells.append(f"{int(row['received_bytes']):,}")
        cells += [f"{float(row[name]):.3f}" for name in ("seconds", "predicted_seconds")]
        assert " - ".join([*cells, row["ratio"]]) in said
        if row["n_ranks"] != "1":
            ratios.append(round(100 * float(row["ratio"]) - 100))
    assert f"{min(ratios)} to {max(ratios)} % longer than the model" in said
    modelled = {
        (row["method"], row["n_ranks"], row["n_features"]): row
        for row in results("scaling_modelled")
    }
    methods = list(dict.fromkeys(method for method, *_ in modelled))
    for n_features in ("10000", "100000", "1000000"):
        for n_ranks in ("8", "64", "1024"):
            rows = [modelled[method, n_ranks, n_features] for method in methods]
            cells = [f"{int(n_features):,}", f"{int(n_ranks):,}", *map(shown, rows)]
            assert " - ".join(cells) in said
    split = modelled["row-split", "1024", "1000000"]
    assert f"1,024 GPUs {split['seconds']} s a step" in said
    inverses = modelled["gradient with inverses", "64", "100000"]
    assert f"{inverses['seconds']} s a step at 100,000 columns" in said
    sent = [
        round(float(modelled[name, "64", "100000"]["received_gb"]))
        for name in ("MAF", "row-split")
    ]
    assert f"MAF exchanges the gradients of all its weights, {sent[0]} GB" in said
    assert f"Row-split layers exchange {sent[1]} GB" in said
