"""Files that hold plain data and tensors, and nothing that could run.

:mod:`~skflow.storage.files` has their bytes, :mod:`~skflow.storage.encoding` what these mean, and
:mod:`~skflow.storage.replacing` how one file takes the place of another.
"""
