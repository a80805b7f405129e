"""A soak: real processes attach and detach under load while others kill, stop and restart things.

:class:`~volflow.testing.soak.supervisor.Soak` starts workers, each a process with a manager and
several threads of callers. It kills some of them and stops others past their lease, restarts what
they depend on, and starts new ones. Each call is written down before it is made and after it, so
that at the end database and backend can be held against what callers were told.

>>> plan = Plan(url, directory, driver="file", options={"directory": "/srv/images"})
... # doctest: +SKIP
>>> figures = Soak(plan, {"tgtd": my_tgtd}).run()  # doctest: +SKIP
>>> assert figures.violations == []  # doctest: +SKIP
"""

from volflow.testing.soak.figures import Figures
from volflow.testing.soak.plan import Plan
from volflow.testing.soak.supervisor import Service, Soak

__all__ = ["Figures", "Plan", "Service", "Soak"]
