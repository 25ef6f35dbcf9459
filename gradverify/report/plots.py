"""Figures drawn with matplotlib, where it is installed: SVG files, or images inside a page."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from typing import Any

from gradverify.records import Figure

SIZE = (6.4, 3.9)  # inches; three of them stand in a row of no page, one is legible on a phone
MARKS = ("o", "s", "^", "v", "D", "x")


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def drawn(figures: Sequence[Figure]) -> list[tuple[str, str]]:
    """Title and ``data:`` address of each figure; none without matplotlib."""
    if not available():
        return []
    return [(figure.title, f"data:image/svg+xml;base64,{b64encode(svg(figure)).decode('ascii')}") for figure in figures]


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes every time."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "gradverify"}):
        draw(figure).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write the figure in the format that the name ends with; ImportError without matplotlib."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "gradverify"}):
        draw(figure).savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)


def draw(figure: Figure) -> Any:
    """A `matplotlib.figure.Figure`, outside pyplot: nothing global, no window."""
    from matplotlib.figure import Figure as Canvas

    axes = (canvas := Canvas(figsize=SIZE, layout="constrained")).subplots()
    for number, curve in enumerate(figure.curves):
        style = MARKS[number % len(MARKS)] if curve.points else "-"
        axes.plot(curve.x, curve.y, style, label=curve.label, markersize=4, linewidth=1.3)
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label, title=figure.title,
             xscale="log" if figure.log_x else "linear", yscale="log" if figure.log_y else "linear")
    if figure.curves:
        axes.legend(fontsize="small")
    return canvas
