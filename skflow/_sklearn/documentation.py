"""Where the documentation of a class is, which its HTML representation links to."""

from __future__ import annotations

import sys
from itertools import accumulate

__all__ = ["DocumentationLinkMixin"]


class DocumentationLinkMixin:
    """Link scikit-learn's diagrams of an estimator of this package to its page.

    An estimator that is derived from one elsewhere has none.
    """

    _doc_link_module = "skflow"
    _doc_link_template = "https://skflow.readthedocs.io/en/stable/generated/{page}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """Name the page after the class, where it is public: the shortest path that it has."""
        name = type(self).__name__
        modules = accumulate(type(self).__module__.split("."), "{}.{}".format)
        public = next(module for module in modules if hasattr(sys.modules[module], name))
        return {"page": f"{public}.{name}"}
