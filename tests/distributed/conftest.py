import os
import subprocess
import sys
import time

import pytest


@pytest.fixture(scope="session")
def left_by(tmp_path_factory):
    """Return a function that runs a script once for all of pytest: what it left is in a folder."""
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked here")
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def left_by(script):
        folder = base / script.stem
        ended = base / f"{script.stem}.ended"
        try:
            folder.mkdir()
        except FileExistsError:  # another process of pytest was here first
            while not ended.exists():
                time.sleep(0.2)
        else:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run([sys.executable, str(script), str(folder)], env=environment)
            unfinished = ended.with_suffix(".unfinished")
            unfinished.write_text(str(done.returncode), encoding="ascii")
            unfinished.rename(ended)
        assert ended.read_text(encoding="ascii") == "0"
        return folder

    return left_by
