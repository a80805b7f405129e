"""Imported first: keeps a warning quiet that is meant for others.

Where eventlet is installed, as os-brick wants it, futurist imports it, and eventlet then warns
whoever runs the program of using it. volflow does not.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import futurist

__all__ = ["futurist"]
