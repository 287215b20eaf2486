"""Scores of a saved model by other instructions."""


def add_arguments(parser):
    """Add what the campaign takes to its command."""


def run(arguments):
    """Run the campaign, and write its figures."""
    raise NotImplementedError
