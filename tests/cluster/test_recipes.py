"""The scripts of the page on clusters run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "cluster.rst"


def scripts():
    """Return the scripts of the page, by name."""
    block = r"code-block:: python\n   :name: (\S+)\n\n((?:(?:   .*)?\n)+)"
    return dict(re.findall(block, PAGE.read_text(encoding="utf-8")))


@pytest.mark.slow  # each of them starts a cluster
@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("search-on-dask", ["distributed"]),
        ("search-on-ray", ["ray"]),
        ("study-on-dask", ["distributed", "optuna", "optuna_integration"]),
    ],
)
def test_scripts_print_the_best_parameters(tmp_path, name, packages):
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")
    path = tmp_path / "script.py"
    path.write_text(re.sub(r"^   ", "", scripts()[name], flags=re.MULTILINE), encoding="utf-8")
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'n_layers': 2" in done.stdout
