"""All that touches what scikit-learn does not publish: checks, arrays, callbacks, links."""
