"""Distance against minutes, a picture for each family.

python -m tests.benchmarks.quality.figure first.json second.json all.png: of several runs.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from jaxgen.report.plots import COLOURS

HEIGHT, WIDTH, RESOLUTION = 3.6, 4.2, 110  # inches of one picture; pixels an inch


def draw(families: Sequence[dict[str, Any]], path: Path) -> None:
  """Writes a PNG of families, as JSON has them: jaxgen's lines are whole, its peers' broken."""
  figure = Figure(figsize=(WIDTH * len(families), HEIGHT), dpi=RESOLUTION, layout='constrained')
  places = figure.subplots(1, len(families), squeeze=False)[0]
  for axes, family in zip(places, families, strict=True):
    paint(axes, family)
  places[0].set_ylabel('Fréchet distance to the test images')
  figure.savefig(path)


def paint(axes: Axes, family: dict[str, Any]) -> None:
  """One family on logarithmic axes."""
  for colour, (label, curve) in zip(COLOURS, family['curves'].items(), strict=False):
    axes.errorbar(
      [point['seconds'] / 60 for point in curve['points']],
      [point['distance'] for point in curve['points']],
      [point['error'] for point in curve['points']],
      color=colour,
      linestyle='-' if label.startswith('jaxgen') else '--',
      marker='o',
      markersize=3,
      capsize=2,
      label=label,
    )
  axes.axhline(family['real'], color='#7f7f7f', linestyle=':', label='real images')
  axes.set(xscale='log', yscale='log', title=family['family'], xlabel='minutes of training')
  ends = [family['seconds'] / 60 / 2**i for i in range(0, 6, 2)]
  axes.set_xticks(ends, [f'{minutes:.2g}' for minutes in ends])
  axes.xaxis.set_minor_locator(NullLocator())
  axes.grid(alpha=0.2)
  axes.legend(
    frameon=False, fontsize=8, loc='upper center', bbox_to_anchor=(0.5, -0.18)
  )  # off the curves


if __name__ == '__main__':
  *sources, target = map(Path, sys.argv[1:])
  draw([f for source in sources for f in json.loads(source.read_text())['families']], target)
