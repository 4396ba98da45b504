"""A theme's name -> how a report looks; and the few lines that draw its figures."""

from __future__ import annotations

from foreshock_server.figures.style import colours

# Figures are drawn when they come into sight, and all of them before they are printed.
SCRIPT = """
const sight = new IntersectionObserver((seen) => seen.forEach((one) => one.isIntersecting && draw(one.target)), {rootMargin: "400px"});
function draw(place) {
  const stored = place.querySelector("script");
  if (!stored) return;
  sight.unobserve(place);
  const figure = JSON.parse(stored.textContent);
  stored.remove();
  Plotly.newPlot(place, figure.data, figure.layout, {responsive: true, displaylogo: false});
}
const places = document.querySelectorAll(".figure");
places.forEach((place) => sight.observe(place));
addEventListener("beforeprint", () => places.forEach(draw));
"""

_SHEET = """
:root{color-scheme:%(scheme)s}
*{box-sizing:border-box}
body{margin:0 auto;max-width:88rem;padding:1.5rem;background:%(paper)s;color:%(ink)s;font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;overflow-wrap:anywhere}
h1{margin:0;font-size:1.6rem}h2{margin:2rem 0 .6rem;font-size:1.15rem;text-transform:none}h3{margin:0;font-size:1rem}h4{margin:.6rem 0 0}
p{margin:.2rem 0}.note{white-space:pre-wrap}.muted{color:%(muted)s;font-size:.87rem}a{color:%(accent)s}
.banner{margin-top:.8rem;padding:.8rem 1rem;border-left:6px solid %(muted)s;background:%(surface)s}
.banner.watch{border-color:%(warning)s}.banner.collapsing{border-color:%(critical)s}.banner.fine{border-color:%(accent)s}
table{border-collapse:collapse;width:100%%}.strip th{width:11rem;text-align:left;font-weight:400;padding:.15rem .8rem .15rem 0}.strip .state{width:7rem;padding-left:.8rem}
.row{display:flex;gap:1px;height:1.1rem;padding:0;margin:.2rem 0}.cell{flex:1 1 0;min-width:1px;align-self:end;height:30%%;background:%(grid)s}
.cell.fine{background:%(accent)s;height:35%%;opacity:.45}.cell.resolved-spike{background:%(warning)s;height:50%%}.cell.watch{background:%(warning)s;height:70%%}.cell.collapsing{background:%(critical)s;height:100%%}
.alert{margin:.5rem 0;padding:.6rem 1rem;background:%(surface)s;border-left:4px solid %(warning)s}.alert.critical{border-color:%(critical)s}summary{cursor:pointer}
.panels{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}.panel{padding:.8rem 1rem;background:%(surface)s;border:1px solid %(grid)s;border-radius:8px;break-inside:avoid}.wide{grid-column:1/-1}
.plain td,.plain th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-top:1px solid %(grid)s}pre{overflow:auto;padding:.8rem;background:%(surface)s}
@media(max-width:52rem){body{padding:1rem}.panels{grid-template-columns:minmax(0,1fr)}.strip th{width:7rem}.strip .state{width:5.5rem}}
"""


def style(theme: str) -> str:
    """The style sheet of a report."""
    c = colours(theme)
    scheme, paper = ("dark", "#0e1217") if theme == "dark" else ("light", "#f5f6f8")
    return _SHEET % {**vars(c), "scheme": scheme, "paper": paper}
