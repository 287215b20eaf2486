"""The memory of a process while it does something."""

import threading
from pathlib import Path

__all__ = ["Memory"]


class Memory:
    """The most memory that this process has while the block runs, in bytes above its start."""

    FIELDS = ("RssAnon", "VmRSS")

    def __enter__(self):
        self.start = self.now()
        self.peaks = dict.fromkeys(self.FIELDS, 0)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def now(self):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        values = dict(line.split(":", 1) for line in lines)
        return {field: 1024 * int(values[field].split()[0]) for field in self.FIELDS}

    def watch(self):
        while not self.ended.wait(0.01):
            now = self.now()
            for field in self.FIELDS:
                self.peaks[field] = max(self.peaks[field], now[field] - self.start[field])
