"""Processes that are forks of this one, for the scripts that make groups of them."""

import os
import socket
import traceback


def start(run_as, *arguments):
    """Fork a process that runs a function, and return its number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run_as(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def free_port():
    """Return a port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
