"""How long each call of each driver took."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = (
    "create_volume",
    "create_export",
    "ensure_export",
    "initialize_connection",
    "list_exports",
    "terminate_unused_connection",
    "terminate_connection",
    "remove_export",
    "delete_volume",
)


class Times:
    """Milliseconds by backend and call."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def write(self, path: Path) -> None:
        """Write the medians as a table, with how often each was measured."""
        if not self.found:
            return
        names = sorted(self.found)
        rows = [["call", *names]]
        for call in CALLS:
            row = [call]
            for name in names:
                values = self.found[name].get(call)
                row.append(f"{statistics.median(values):.0f} ({len(values)})" if values else "-")
            rows.append(row)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        path.write_text("\n".join(lines) + "\n")


class Timed:
    """A driver whose successful calls are timed."""

    def __init__(self, driver: Any, times: dict[str, list[float]]) -> None:
        self._driver = driver
        self._times = times

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        return self._timed(name, found) if name in CALLS else found

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.monotonic()
            result = call(*arguments, **options)
            self._times[name].append((time.monotonic() - began) * 1000)
            return result

        return timed
