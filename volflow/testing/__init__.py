"""For tests of volflow, of those who embed it, and of those who write drivers."""

from volflow.testing.faults import Crash, Fault, FaultyDriver, pause_heartbeat
from volflow.testing.memory import MemoryDriver

__all__ = ["Crash", "Fault", "FaultyDriver", "MemoryDriver", "pause_heartbeat"]
