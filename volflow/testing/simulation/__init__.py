"""A simulation: real code, one thread at a time, in a time of its own, and much goes wrong.

>>> from volflow.testing.simulation import Simulation, Template
>>> with Template() as template:
...     outcome = Simulation(template, seed=1, kinds=["death"]).run()
>>> outcome.violations
()

``python -m volflow.testing.simulation`` plays many seeds. What can go wrong stands in
:mod:`volflow.testing.simulation.faults`; what may never be, in ``safety``, ``answers`` and
``ending``.
"""

from volflow.testing.simulation.plan import Schedule
from volflow.testing.simulation.shrinking import Shrinker
from volflow.testing.simulation.simulation import Outcome, Simulation
from volflow.testing.simulation.template import Template

__all__ = ["Outcome", "Schedule", "Shrinker", "Simulation", "Template"]
