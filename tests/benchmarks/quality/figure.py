"""Distance against minutes, a picture for each family."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxgen.report.plots import COLOURS
from tests.benchmarks.quality.curves import Curve

HEIGHT, WIDTH, RESOLUTION = 3.6, 4.2, 110  # inches of one picture; pixels an inch


class Panel(NamedTuple):
  """A family's curves by label, and the distance of as many real images."""

  family: str
  curves: dict[str, Curve]
  floor: float


def draw(panels: Sequence[Panel], distance: str, path: Path) -> None:
  """Writes a PNG of the panels, side by side: jaxgen's lines whole, its peers' broken."""
  figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), dpi=RESOLUTION, layout='constrained')
  for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
    paint(axes, panel)
  figure.axes[0].set_ylabel(distance)
  figure.savefig(path)


def paint(axes: Axes, panel: Panel) -> None:
  """One family on logarithmic axes."""
  for colour, (label, curve) in zip(COLOURS, panel.curves.items(), strict=False):
    axes.errorbar(
      [point.seconds / 60 for point in curve.points],
      [point.distance for point in curve.points],
      [point.error for point in curve.points],
      color=colour,
      linestyle='-' if label.startswith('jaxgen') else '--',
      marker='o',
      markersize=3,
      capsize=2,
      label=label,
    )
  axes.axhline(panel.floor, color='#7f7f7f', linestyle=':', label='real images')
  axes.set(xscale='log', yscale='log', title=panel.family, xlabel='minutes of training')
  axes.grid(alpha=0.2)
  axes.legend(frameon=False, fontsize=8)
