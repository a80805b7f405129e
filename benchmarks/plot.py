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


def bars(databases: Mapping[str, Mapping[str, Result]]) -> list[tuple[str, dict[str, float]]]:
    """Titles and ratios by database, the reference first and then by the ratio."""
    found: dict[str, dict[str, float]] = {}
    titles: dict[str, str] = {}
    for database, results in databases.items():
        for name, result in results.items():
            if result.speed and "cycle" in result.speed.ratios:
                found.setdefault(name, {})[database] = result.speed.ratios["cycle"]
                mark = "" if result.durable else " *"
                titles[name] = result.title + mark
    reference = NAMES[0]
    order = sorted(found, key=lambda name: (name != reference, max(found[name].values())))
    return [(titles[name], found[name]) for name in order]


def draw(databases: Mapping[str, Mapping[str, Result]], directory: Path) -> list[Path]:
    """Draw it as ``bench.svg`` and ``bench.png``; returns the files."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - who draws nothing needs it not

    rows = bars(databases)
    names = [name for name in TITLES if name in databases]
    height = 0.34 * len(rows) * max(1, len(names) * 0.75) + 1.2
    figure = Figure(figsize=(WIDTH_PIXELS / DOTS, height), dpi=DOTS, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    thickness = 0.8 / len(names)
    for offset, database in enumerate(names):
        _draw_database(axes, rows, database, offset * thickness, thickness)
    _dress(axes, rows, (len(names) - 1) * thickness / 2)
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "bench.svg", directory / "bench.png"]
    figure.savefig(files[0], transparent=True, metadata={"Date": None})
    figure.savefig(files[1], transparent=True, dpi=DOTS * PNG_SCALE)
    return files


def _draw_database(
    axes: Any,
    rows: list[tuple[str, dict[str, float]]],
    database: str,
    offset: float,
    thickness: float,
) -> None:
    places = [n + offset for n, (_, ratios) in enumerate(rows) if database in ratios]
    values = [ratios[database] for _, ratios in rows if database in ratios]
    drawn = axes.barh(
        places,
        [value - BASE for value in values],
        left=BASE,
        height=thickness * 0.92,
        color=COLOURS[database],
        label=TITLES[database],
    )
    axes.bar_label(drawn, [f"{value:.2g}" for value in values], padding=3, color=INK, fontsize=10)


BASE = 0.1
"""Where bars begin on an axis that has no zero."""


def _dress(axes: Any, rows: list[tuple[str, dict[str, float]]], middle: float) -> None:
    top = max((value for _, ratios in rows for value in ratios.values()), default=1.0)
    axes.set_xscale("log")
    axes.set_xlim(BASE, max(10.0, top * 2))
    axes.set_yticks([n + middle for n in range(len(rows))], [title for title, _ in rows])
    axes.invert_yaxis()
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.set_xlabel("time of an attach and a detach, volflow = 1 (logarithmic)", color=INK)
    ticks = [t for t in (0.1, 0.3, 1, 3, 10, 30, 100, 300) if t <= max(10.0, top * 2)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.minorticks_off()
    axes.tick_params(colors=INK, labelsize=11)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.legend(frameon=False, labelcolor=INK, loc="lower right", fontsize=10)
    if any(title.endswith("*") for title, _ in rows):
        axes.text(
            0,
            -0.02,
            "* keeps nothing: a flow whose process dies is lost",
            transform=axes.figure.transFigure,
            color=INK,
            fontsize=9,
            va="top",
        )
