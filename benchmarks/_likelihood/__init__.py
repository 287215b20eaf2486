"""The parts of `likelihood.py`."""
