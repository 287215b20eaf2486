"""Campaigns that look for faults: each is a module with `add_arguments` and `run`."""
