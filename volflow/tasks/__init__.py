"""The tasks of the flows, one module a side."""
