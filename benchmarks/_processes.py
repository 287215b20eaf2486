"""What tells the processes of a benchmark that they are a group."""

import os
import socket

__all__ = ["environment", "free_port"]


def environment(n_ranks, rank=None, port=None):
    """Return what tells processes of their group; under torchrun, that does so itself."""
    found = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    if rank is not None:
        group = {"RANK": rank, "WORLD_SIZE": n_ranks, "MASTER_PORT": port}
        found |= {name: str(value) for name, value in group.items()}
        found["MASTER_ADDR"] = "127.0.0.1"
    return found


def free_port():
    """Return a port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
