"""How a flow is fitted."""
