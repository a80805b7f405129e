"""The picture of the README: how long a cycle takes, relative to volflow, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Result
from benchmarks.peers import NAMES

WIDTH_PIXELS, DOTS = 800, 100
PNG_SCALE = 2
# Legible on white and on GitHub's dark page, whose background shows through.
INK = "#7d8590"
COLOURS = {"sqlite": "#2f81f7", "postgresql": "#8957e5"}
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
THICKNESS = 0.4
LOST = "*"

BASE = 0.1
"""Where bars begin on an axis that has no zero."""

Rows = list[tuple[str, dict[str, float]]]


def bars(databases: Mapping[str, Mapping[str, Result]]) -> Rows:
    """Titles and ratios by database, the reference first and then by the ratio."""
    found: dict[str, dict[str, float]] = {}
    titles: dict[str, str] = {}
    for database, results in databases.items():
        for name, result in results.items():
            if result.speed and "cycle" in result.speed.ratios:
                found.setdefault(name, {})[database] = result.speed.ratios["cycle"]
                titles[name] = result.title + ("" if result.durable else f" {LOST}")
    reference = NAMES[0]
    order = sorted(found, key=lambda name: (name != reference, max(found[name].values())))
    return [(titles[name], found[name]) for name in order]


def draw(databases: Mapping[str, Mapping[str, Result]], directory: Path) -> list[Path]:
    """Draw it as ``bench.svg`` and ``bench.png``; returns the files."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - who draws nothing needs it not

    rows = bars(databases)
    names = [name for name in TITLES if name in databases]
    figure = Figure(figsize=(WIDTH_PIXELS / DOTS, 1.3 + 0.5 * len(rows)), dpi=DOTS)
    figure.set_layout_engine("constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for database in names:
        _draw_database(axes, rows, database)
    _dress(axes, rows)
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "bench.svg", directory / "bench.png"]
    figure.savefig(files[0], transparent=True, metadata={"Date": None})
    figure.savefig(files[1], transparent=True, dpi=DOTS * PNG_SCALE)
    return files


def _draw_database(axes: Any, rows: Rows, database: str) -> None:
    """Draw the bars of one database, beside those of the other one where a peer has both."""
    places = []
    for place, (_, ratios) in enumerate(rows):
        if database in ratios:
            beside = [name for name in TITLES if name in ratios]
            places.append(place + THICKNESS * (beside.index(database) - (len(beside) - 1) / 2))
    values = [ratios[database] for _, ratios in rows if database in ratios]
    drawn = axes.barh(
        places,
        [value - BASE for value in values],
        left=BASE,
        height=THICKNESS * 0.92,
        color=COLOURS[database],
        label=TITLES[database],
    )
    axes.bar_label(drawn, [f"{value:.2g}" for value in values], padding=3, color=INK, fontsize=10)


def _dress(axes: Any, rows: Rows) -> None:
    top = max([10.0, *(2 * value for _, ratios in rows for value in ratios.values())])
    axes.set_xscale("log")
    axes.set_xlim(BASE, top)
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.invert_yaxis()
    axes.axvline(1, color=INK, linewidth=1, linestyle="--", zorder=0)
    caption = "time of an attach and a detach, volflow = 1 (logarithmic scale)"
    if any(title.endswith(LOST) for title, _ in rows):
        caption += f"\n{LOST} not durable: where its process dies, the flow is lost"
    axes.set_xlabel(caption, color=INK)
    ticks = [tick for tick in (0.1, 0.3, 1, 3, 10, 30, 100, 300) if tick <= top]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(colors=INK, labelsize=11)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    # The uppermost bar is volflow's, which leaves room.
    axes.legend(frameon=False, labelcolor=INK, loc="upper right", fontsize=10)
