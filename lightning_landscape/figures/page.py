"""Web pages that need no network and no other file: their frame, style sheet and script."""

from __future__ import annotations

import base64
import html
import io

from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; --ink: #1d2127; --muted: #59616d; --rule: #dde1e6; --soft: #f6f7f9; --accent: #0b64a8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 82rem; color: var(--ink);
  background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: clamp(1.6rem, 3.2vw, 2.3rem); line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.015em; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .35rem; padding-top: 1.1rem;
  border-top: 1px solid var(--rule); letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 0 0 .35rem; }
p { max-width: 46rem; margin: .35rem 0 1rem; }
a { color: var(--accent); text-underline-offset: .15em; }
a:focus-visible, button:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.lead { font-size: 1.08rem; color: var(--muted); max-width: 60rem; text-wrap: pretty; }
.guide { max-width: none; background: var(--soft); border-left: 3px solid var(--accent); padding: .85rem 1.1rem;
  border-radius: 0 6px 6px 0; }
.guide p { max-width: 60rem; margin: 0; }
.note, figcaption { color: var(--muted); font-size: .85rem; line-height: 1.45; }
.note { max-width: 60rem; }
.grid { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
.wide { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); }
figure { margin: 0; min-width: 0; }
.card { border: 1px solid var(--rule); border-radius: 8px; padding: .9rem 1rem; background: #fff; }
figure img { display: block; width: 100%; height: auto; margin: 0 auto; }
.landscape { width: 100%; aspect-ratio: 1.15; overflow: hidden; }
.grid > .card:only-child .landscape { aspect-ratio: auto; height: clamp(20rem, 52vw, 42rem); }
.modes { display: inline-flex; flex-wrap: wrap; margin: .25rem 0 1rem; border: 1px solid var(--rule);
  border-radius: 6px; overflow: hidden; }
.modes button { font: inherit; font-size: .875rem; padding: .35rem .9rem; border: 0; background: #fff;
  color: var(--ink); cursor: pointer; }
.modes button + button { border-left: 1px solid var(--rule); }
.modes button[aria-pressed="true"] { background: var(--ink); color: #fff; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .5rem 0 1rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .35rem; }
th, td { padding: .4rem .9rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
td { max-width: 24rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: 500; min-width: 14rem; }
tbody th small { display: block; font-weight: 400; color: var(--muted); max-width: 26rem; line-height: 1.35; }
tbody tr:last-child > * { border-bottom-color: var(--ink); }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--soft); padding: 1rem; border-radius: 6px; overflow-x: auto; font-size: .82rem;
  line-height: 1.45; }
ul { padding-left: 1.2rem; max-width: 60rem; }
.print { display: none; }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  .screen { display: none; }
  .print { display: block; }
  .card { border: 0; padding: 0; }
  figure, table, .guide { break-inside: avoid; }
  h2 { break-after: avoid; margin-top: 1.5rem; }
  pre { white-space: pre-wrap; }
}
"""

_SCRIPT = """
(function () {
  "use strict";
  var plots = Array.prototype.slice.call(document.querySelectorAll(".landscape"));
  var turning = false;
  function draw(plot) {
    var content = JSON.parse(plot.nextElementSibling.textContent);
    plot.modes = content.modes;
    return Plotly.newPlot(plot, content.figure.data, content.figure.layout, content.config).then(function () {
      plot.on("plotly_relayout", function (change) {
        var camera = change["scene.camera"];
        if (!camera || turning) { return; }
        turning = true;
        Promise.all(plots.filter(function (p) { return p !== plot && p.on; }).map(function (p) {
          return Plotly.relayout(p, { "scene.camera": camera });
        })).then(function () { turning = false; }, function () { turning = false; });
      });
    });
  }
  plots.forEach(function (plot) {
    draw(plot).catch(function () {
      plot.textContent = "This browser cannot draw in three dimensions (WebGL is off).";
      plot.style.height = "auto";
    });
  });
  document.querySelectorAll(".modes button").forEach(function (button) {
    button.addEventListener("click", function () {
      var mode = Number(button.dataset.mode), group = button.parentElement;
      group.querySelectorAll("button").forEach(function (b) { b.setAttribute("aria-pressed", String(b === button)); });
      group.parentElement.querySelectorAll(".landscape").forEach(function (plot) {
        if (!plot.modes) { return; }
        Plotly.update(plot, plot.modes[mode].restyle, plot.modes[mode].relayout);
      });
    });
  });
})();
"""


def document(title: str, body: str, *, plotly: bool) -> str:
    """A complete page.

    Args:
        title: plain text for the browser's tab.
        body: HTML.
        plotly: put Plotly's library into the page, once, and draw every element of class "landscape" with it.

    Returns:
        HTML that refers to no other file.
    """
    scripts = ""
    if plotly:
        from plotly.offline import get_plotlyjs  # 5 MB of text, read when needed

        scripts = f"<script>{get_plotlyjs()}</script>\n<script>{_SCRIPT}</script>\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{scripts}</body>\n</html>\n"
    )


def safe_json(text: str) -> str:
    r"""JSON that may stand inside of a script element, whatever its strings hold.

    Examples:
        >>> safe_json('"</script>"')
        '"\\u003c/script>"'
    """
    return text.replace("<", "\\u003c")


def image(figure: Figure, alt: str, *, css: str = "") -> str:
    """A figure as an image inside of the page.

    Args:
        figure: a Matplotlib figure.
        alt: what it shows, for those who do not see it.
        css: class of the figure element.

    Returns:
        HTML.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    width = round(96 * float(figure.get_size_inches()[0]))
    return f'<figure class="{css}">{embedded(buffer.getvalue(), "png", alt, width)}</figure>'


def embedded(data: bytes, kind: str, alt: str, width: int | None = None) -> str:
    """An image element that carries its picture.

    Args:
        data: the content of the picture's file.
        kind: its format, "png" or "gif".
        alt: what it shows, for those who do not see it.
        width: pixels that it takes at most; None for no bound but the page's.

    Returns:
        HTML.
    """
    encoded = base64.b64encode(data).decode("ascii")
    style = "" if width is None else f' style="max-width:{width}px"'
    return f'<img src="data:image/{kind};base64,{encoded}" alt="{html.escape(alt)}"{style}>'
