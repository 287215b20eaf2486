"""The parts of `conditional.py`."""
