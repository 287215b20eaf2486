"""What `verbose` shows, in terminals and elsewhere."""

import io
import re
import sys
import threading

import pytest

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons

LINE = (
    r"fit [123] of 3  epoch +\d+ +\d+%  training -?\d+\.\d{4}(  held out -?\d+\.\d{4})?"
    r"  \d+\.\d (epochs/s|s/epoch)  \d:\d\d:\d\d( left)?"
)


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(200, random_state=0)


@pytest.fixture
def flow():
    # From this base, epochs gain so much that all rows are fitted in the end.
    return RelativeGradientFlow(
        n_layers=2, base_distribution="logistic", max_iter=3, verbose=1, random_state=0
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True

    @property
    def last_line(self):
        """The last line that was drawn, as it is read."""
        text = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", self.getvalue())
        return [line for line in re.split(r"[\r\n]", text) if line][-1]


@pytest.fixture
def open_terminal(monkeypatch):
    """Let the process write to a terminal; returns a function that does so."""
    rich_console = pytest.importorskip("rich.console")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def start(term="xterm-256color", width=80, **kwargs):
        terminal = Terminal()
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr(sys, "stdout", terminal)
        console = rich_console.Console(file=terminal, width=width, **kwargs)
        monkeypatch.setattr("rich.get_console", lambda: console)
        return terminal

    return start


def test_a_log_gets_a_line_an_epoch(X, flow, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on servers for continuous integration
    flow.fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert all(re.fullmatch(LINE, line) for line in lines)
    assert all(len(line) <= 99 for line in lines)
    # The third fit takes as many epochs as were best.
    assert [line[:10] for line in lines[:6]] == 3 * ["fit 1 of 3"] + 3 * ["fit 2 of 3"]
    assert all(line.startswith("fit 3 of 3") for line in lines[6:])
    assert len(lines) == 6 + len(flow.loss_curve_)
    done = [re.search(r"(\d+)%", line)[1] for line in lines[:6]]
    assert done == ["11", "22", "33", "44", "56", "67"]
    assert [line.endswith("left") for line in lines[:3]] == [True, True, False]


def test_a_terminal_gets_a_bar(X, flow, open_terminal):
    terminal = open_terminal()
    flow.set_params(max_iter=9)
    flow.fit(X)
    assert sys.stdout is terminal
    shown = terminal.getvalue()
    assert shown.count("\n") == 1  # all is drawn on one line
    line = terminal.last_line
    assert len(line) == 80
    assert "…" not in line
    assert re.match(r"fit \d of 3  epoch \d ━+ 100% training .* epochs/s  0:00:\d\d", line)


def test_a_narrow_terminal_gets_what_matters(X, flow, open_terminal):
    terminal = open_terminal(width=60)
    flow.fit(X)
    line = terminal.last_line
    assert re.fullmatch(r"fit \d of 3  epoch \d ━+ 100% training \S+(  held out \S+)?", line)


def test_the_bar_has_no_validation_score_where_there_is_none(X, flow, open_terminal):
    terminal = open_terminal()
    flow.set_params(early_stopping=False).fit(X)
    assert "held out" not in terminal.getvalue()
    assert "training" in terminal.last_line


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_bar_of_a_failed_fit_vanishes(X, flow, open_terminal, monkeypatch, error):
    terminal = open_terminal()
    threads_before = set(threading.enumerate())

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("skflow.training.optimizers.Optimizer.step", fail)
    with pytest.raises(error):
        flow.fit(X)
    assert sys.stdout is terminal
    shown = terminal.getvalue()
    hide, show, up, erase_line = "\x1b[?25l", "\x1b[?25h", "\x1b[1A", "\x1b[2K"
    assert shown.count(hide) == shown.count(show) == 1
    assert shown.endswith(f"{up}{erase_line}")
    for thread in set(threading.enumerate()) - threads_before:
        thread.join(timeout=10.0)  # it was told to stop
        assert not thread.is_alive()


def test_only_one_fit_draws(X, flow, open_terminal):
    terminal = open_terminal()
    thread = threading.Thread(target=flow.fit, args=(X,))
    thread.start()
    thread.join()
    assert "\x1b" not in terminal.getvalue()
    assert len(re.findall(LINE, terminal.getvalue())) == 6 + len(flow.loss_curve_)


@pytest.mark.parametrize("case", ["dumb terminal", "no rich", "notebook without widgets"])
def test_lines_where_nothing_can_be_drawn(X, flow, open_terminal, monkeypatch, case):
    terminal = open_terminal(
        term="dumb" if case == "dumb terminal" else "xterm-256color",
        force_jupyter=case == "notebook without widgets",
    )
    if case == "no rich":
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr("skflow.estimators.progress.find_spec", lambda name: None)
    flow.fit(X)
    assert "\x1b" not in terminal.getvalue()
    assert len(re.findall(LINE, terminal.getvalue())) == 6 + len(flow.loss_curve_)


def test_another_live_display_is_left_alone(X, flow, open_terminal, monkeypatch):
    errors = pytest.importorskip("rich.errors")
    terminal = open_terminal()

    def fail(*_, **__):
        raise errors.LiveError("Only one live display may be active at once")

    monkeypatch.setattr("rich.console.Console.set_live", fail)  # as before rich 14.1
    flow.fit(X)
    assert len(re.findall(LINE, terminal.getvalue())) == 6 + len(flow.loss_curve_)


def test_nothing_is_shown_unless_asked_for(X, flow, open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.delattr("rich.get_console")
    flow.set_params(verbose=0).fit(X)
    assert terminal.getvalue() == ""
