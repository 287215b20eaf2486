"""What `verbose` shows of a fit: a live bar in a terminal or a notebook, and lines elsewhere."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from skflow.training.fits import EpochReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["shown_progress"]

# Of fewer columns than these, a terminal shows the epochs and the nats, and not the pace.
_WIDE = 80


Show = Callable[[EpochReport], None]


@contextmanager
def shown_progress(verbose: bool | int) -> Iterator[Show]:
    """Give what shows a fit's epochs, one after the other, while the block runs.

    Parameters
    ----------
    verbose : bool or int
        Whether to show anything.

    Yields
    ------
    show : callable
        To be called after each epoch. If several fits follow each other, the share that is done
        is that of all of them. A bar stays where it is when the block ends, and vanishes if it
        fails.
    """
    if not verbose:
        yield lambda report: None
        return
    bar = _started_bar()
    if bar is None:
        yield _write_line
        return

    try:
        task = bar.add_task("epoch 0", total=1.0, nats="", pace="")

        def show(report: EpochReport) -> None:
            bar.update(
                task,
                description=f"{_which(report)}epoch {report.epoch}",
                completed=_done(report),
                nats=_nats(report, "#.4g"),
                pace=_pace(report),
            )

        yield show
        bar.update(task, completed=1.0)
        bar.live.transient = False
        bar.refresh()
    finally:
        bar.stop()


def _started_bar() -> Progress | None:
    """Return a live bar, or None where there cannot be one."""
    try:
        import rich
        from rich.errors import LiveError
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    except ImportError:
        return None
    console = rich.get_console()
    if not _can_be_live(console):
        return None
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[nats]}"),
    ]
    if console.width >= _WIDE:
        columns.append(TextColumn("{task.fields[pace]}"))
    bar = Progress(*columns, console=console, transient=True, expand=True)
    try:
        bar.start()
    except LiveError:  # before rich 14.1, there can be one live display at a time
        return None
    return bar


def _can_be_live(console: Console) -> bool:
    """Return whether the console can redraw what it shows, and this fit is the only one to do so.

    Fits in the processes and threads of a search would draw over each other.
    """
    if (
        multiprocessing.parent_process() is not None
        or threading.current_thread() is not threading.main_thread()
    ):
        return False
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    # A console may be told to write colours to a file, which is no reason to draw there.
    return console.is_interactive and console.file.isatty()


def _write_line(report: EpochReport) -> None:
    which, done = _which(report), _done(report)
    nats = _nats(report, ".4f")
    sys.stdout.write(f"{which}epoch {report.epoch:4d}  {done:4.0%}  {nats}  {_pace(report)}\n")
    sys.stdout.flush()


def _which(report: EpochReport) -> str:
    return f"fit {report.fit} of {report.n_fits}  " if report.n_fits > 1 else ""


def _done(report: EpochReport) -> float:
    """Return the share of all fits that is done."""
    return (report.fit - 1 + report.progress) / report.n_fits


def _nats(report: EpochReport, form: str) -> str:
    """Show both log-likelihoods with the same sign: higher is better."""
    training = f"training {-report.loss:{form}}"
    if report.validation_score is None:
        return training
    return f"{training}  held out {report.validation_score:{form}}"


def _pace(report: EpochReport) -> str:
    rate = report.epoch / report.seconds
    pace = f"{rate:.1f} epochs/s" if rate >= 1 else f"{1 / rate:.1f} s/epoch"
    if report.progress < 1:
        return f"{pace}  {_clock(report.seconds_left)} left"
    return f"{pace}  {_clock(report.seconds)}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
