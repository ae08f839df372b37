"""The look of every figure: colours, type sizes, line breaking; set on artists, never in Matplotlib's globals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

INK: Final = "#1d2127"
MUTED: Final = "#59616d"
RULE: Final = "#d5d9df"
GAP: Final = "#e6e8ec"
GAP_HATCH: Final = "#9aa1ac"
HIGHLIGHT: Final = "#d1402f"
SERIES: Final = ("#0b64a8", "#c8471d", "#1b8a6b", "#8a4f9e", "#b58100", "#4b5563", "#c2417c", "#3aa0c9")
"""Line colours: distinct for colour-blind readers and dark enough on white."""

TITLE_SIZE: Final = 13.0
PANEL_TITLE_SIZE: Final = 11.0
LABEL_SIZE: Final = 10.0
TICK_SIZE: Final = 9.0
CAPTION_SIZE: Final = 8.0
DPI: Final = 130.0
MARGIN: Final = 0.12
"""Distance of title and caption from the figure's edge, in inches."""
# Letters are fitted to the pixels of a picture, which makes a line up to 10 % wider than their outlines from 72 dpi on.
_HINTING: Final = 1.1


@lru_cache(maxsize=2)
def colour_map(*, lines: bool = False) -> Colormap:
    """Viridis, perceptually uniform; for `lines` without its brightest eighth, which is unreadable on white.

    Args:
        lines: for thin lines on a white ground.

    Returns:
        A Matplotlib colour map.
    """
    viridis = matplotlib.colormaps["viridis"]
    if not lines:
        return viridis
    return ListedColormap([viridis(0.88 * i / 255) for i in range(256)], name="viridis_lines")


def new_figure(width: float, height: float, *, layout: str | None = "constrained") -> Figure:
    """Make an empty white figure that belongs to no window and no backend.

    Args:
        width: inches.
        height: inches.
        layout: Matplotlib's layout engine, or None to place axes by hand.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", edgecolor="white", layout=layout)  # type: ignore[arg-type]
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=MARGIN / 2, h_pad=MARGIN / 2, wspace=0.03, hspace=0.03)  # type: ignore[call-arg]
    return figure


def style_axes(axes: Any, *, grid: bool = False, frame: bool = True) -> None:
    """Set the colours and sizes of ticks, spines and grid, whatever Matplotlib's global settings are.

    Args:
        axes: a two-dimensional Axes.
        grid: draw light horizontal and vertical rules behind the data.
        frame: keep the spines at the top and on the right.
    """
    axes.set_facecolor("white")
    axes.tick_params(
        which="major", labelsize=TICK_SIZE, labelcolor=INK, color=MUTED, length=3.5, width=0.8, direction="out"
    )
    axes.tick_params(which="minor", color=MUTED, length=2.0, width=0.6, direction="out")
    for side, spine in axes.spines.items():
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
        spine.set_visible(frame or side in {"left", "bottom"})
    axes.set_axisbelow(True)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, which="major", color=RULE, linewidth=0.7, linestyle="-")


def text_width(text: str, size: float, *, weight: str = "normal") -> float:
    """Width of one line of text.

    Args:
        text: the line.
        size: type size in points.
        weight: of the font.

    Returns:
        Inches, in Matplotlib's current font: what it takes at most, drawn at 72 dpi or more.
    """
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)
    return _HINTING * float(width) / 72.0


def wrap(text: str, inches: float, size: float, *, weight: str = "normal") -> str:
    r"""Break a text into lines that are no wider than `inches`, measured with the font that draws them.

    Breaks are made at spaces; a word that is wider than a line is cut.

    Args:
        text: any text; its own line breaks are kept.
        inches: the width of a line.
        size: type size in points.
        weight: of the font.

    Returns:
        The text with line breaks.

    Examples:
        >>> wrap("one two", 10.0, 8.0)
        'one two'
        >>> wrap("one two", 0.3, 8.0)
        'one\ntwo'
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for whole in paragraph.split(" "):
            word = whole
            extended = f"{line} {word}" if line else word
            if text_width(extended, size, weight=weight) <= inches:
                line = extended
                continue
            if line:
                lines.append(line)
            while text_width(word, size, weight=weight) > inches and len(word) > 1:
                end = next(
                    n
                    for n in range(len(word) - 1, 0, -1)
                    if n == 1 or text_width(word[:n], size, weight=weight) <= inches
                )
                lines.append(word[:end])
                word = word[end:]
            line = word
        lines.append(line)
    return "\n".join(lines)


def set_texts(figure: Figure, title: str, caption: str) -> None:
    """Write a title at the upper left and small lines under the figure, both broken to its width.

    Args:
        figure: a figure whose width is final.
        title: may be empty.
        caption: the lines that say how far to trust the figure; may be empty.
    """
    inches = float(figure.get_size_inches()[0])
    common: dict[str, Any] = {"x": MARGIN / inches, "ha": "left", "parse_math": False, "multialignment": "left"}
    if title:
        lines = wrap(title, inches - 2 * MARGIN, TITLE_SIZE, weight="bold")
        figure.suptitle(lines, fontsize=TITLE_SIZE, fontweight="bold", color=INK, **common)
    if caption:
        lines = wrap(caption, inches - 2 * MARGIN, CAPTION_SIZE)
        figure.supxlabel(lines, fontsize=CAPTION_SIZE, fontweight="normal", color=MUTED, linespacing=1.35, **common)


def fit(figure: Figure, axes: Any, size: tuple[float, float], *, columns: float = 1, rows: float = 1) -> None:
    """Resize a figure so that its panels get the size they should have, whatever stands around them.

    Args:
        figure: a figure with the constrained layout.
        axes: one of its panels.
        size: width and height that this panel should have, in inches.
        columns: width of all panels side by side, in widths of this one.
        rows: height of all panels above one another, in heights of this one.
    """
    engine = figure.get_layout_engine()
    assert engine is not None
    final = bool(figure.get_suptitle() or figure.get_supxlabel())  # the lines of the texts are broken already
    for _ in range(2):  # a second pass settles what the labels' own size changed
        engine.execute(figure)
        whole = figure.get_size_inches()
        box = axes.get_position(original=True)
        wider = 0.0 if final else columns * (size[0] - box.width * whole[0])
        higher = rows * (size[1] - box.height * whole[1])
        if max(abs(wider), abs(higher)) < 0.02:
            break
        figure.set_size_inches(whole[0] + wider, whole[1] + higher)


def set_panel_title(axes: Any, text: str, inches: float) -> None:
    """Write one panel's title above it on the left, broken to `inches`."""
    axes.set_title(
        wrap(text, inches, PANEL_TITLE_SIZE, weight="bold"),
        loc="left",
        pad=8,
        fontsize=PANEL_TITLE_SIZE,
        fontweight="bold",
        color=INK,
        parse_math=False,
    )


def label_axes(axes: Any, x: str, y: str, size: tuple[float, float]) -> None:
    """Write the axes' labels, broken to the width and height of the panel.

    Args:
        axes: the panel.
        x: text under it.
        y: text on its left.
        size: width and height of the panel in inches.
    """
    for text, inches, write in ((x, size[0], axes.set_xlabel), (y, size[1], axes.set_ylabel)):
        fits = text_width(text, LABEL_SIZE) <= inches
        broken = text.replace(": ", "\n") if ": " in text else text.replace(" (", "\n(")
        lines = text if fits else wrap(broken, inches, LABEL_SIZE)
        write(lines, fontsize=LABEL_SIZE, color=INK, parse_math=False)


def legend_below(axes: Axes, handles: Sequence[Any], inches: float) -> Legend | None:
    """Put a legend without a frame under an Axes, clear of its tick labels and its label.

    Args:
        axes: the panel.
        handles: labelled artists; none, no legend.
        inches: width of the panel; so many entries as fit stand side by side.

    Returns:
        The legend, or None.
    """
    if not handles:
        return None
    figure = axes.figure
    widest = max(text_width(str(h.get_label()), TICK_SIZE) for h in handles) + 0.62
    rows = math.ceil(len(handles) / max(int(inches / widest), 1))
    columns = math.ceil(len(handles) / rows)
    # Tick labels take two lines with their distance, the axis's label one line each.
    points = 2.5 * TICK_SIZE + 1.45 * LABEL_SIZE * (axes.get_xlabel().count("\n") + 1)
    legend = axes.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -points / 72, figure.dpi_scale_trans),
        ncols=columns,
        frameon=False,
        borderaxespad=0.0,
        borderpad=0.0,
        handlelength=1.9,
        columnspacing=1.6,
        fontsize=TICK_SIZE,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def place_texts(figure: Figure, title: str, caption: str) -> tuple[float, float]:
    """Like `set_texts`, for a figure without a layout engine.

    Returns:
        Lower and upper end of what is left free, in fractions of the figure's height.
    """
    width, height = figure.get_size_inches().tolist()
    common: dict[str, Any] = {"ha": "left", "parse_math": False, "multialignment": "left"}
    bottom, top = MARGIN / height, 1 - MARGIN / height
    inches = width - 2 * MARGIN
    if caption:
        lines = wrap(caption, inches, CAPTION_SIZE)
        text = figure.text(
            MARGIN / width, bottom, lines, va="bottom", fontsize=CAPTION_SIZE, color=MUTED, linespacing=1.35, **common
        )
        bottom += text.get_window_extent().height / figure.bbox.height
    if title:
        lines = wrap(title, inches, TITLE_SIZE, weight="bold")
        text = figure.text(
            MARGIN / width, top, lines, va="top", fontsize=TITLE_SIZE, fontweight="bold", color=INK, **common
        )
        top -= text.get_window_extent().height / figure.bbox.height
    return bottom, top
