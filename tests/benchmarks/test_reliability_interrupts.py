"""Ctrl-C at a few random moments."""

from importlib import import_module


def test_every_moment_has_an_outcome(tmp_path, capsys):
    output = tmp_path / "reliability_interrupts.csv"
    sizes = ["--fits", "6", "--seed", "1", "--results", str(tmp_path)]
    import_module("reliability").main(["interrupts", *sizes])
    out = capsys.readouterr().out
    assert "ended with a warning" in out
    assert "FAILED" not in out
    lines = output.read_text(encoding="utf-8").splitlines()
    assert sum(not line.startswith("#") for line in lines) == 7
