"""The report's plots, each drawn for a light and for a dark page, as SVG in data URIs."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers, on light and on dark.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f')
INK = {'light': '#333333', 'dark': '#d0d0d0'}
MOST_POINTS = 500  # of a curve
MOST_CURVES = len(COLOURS)

Curves = dict[str, list[tuple[list[float], list[float]]]]  # name -> (steps, values) of each seed


class Plot(NamedTuple):
  """Data URIs of one plot on both pages, and what it shows for who cannot see it."""

  light: str
  dark: str
  alternative: str


def data_uri(content: bytes, kind: str) -> str:
  """A file inside a page."""
  return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def draw(paint: Callable[[Axes], None], size: tuple[float, float], words: str) -> Plot:
  """Calls `paint` on empty axes, once for each page; the same input gives the same bytes."""
  uris = []
  for page in ('light', 'dark'):
    ink = INK[page]
    style: dict[str, Any] = dict.fromkeys(
      ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), ink
    )
    style |= {'svg.hashsalt': 'jaxgen', 'font.size': 9, 'legend.frameon': False}
    style |= {'axes.spines.top': False, 'axes.spines.right': False}
    style |= {'axes.grid': True, 'grid.color': ink, 'grid.alpha': 0.15, 'axes.axisbelow': True}
    with matplotlib.rc_context(style):
      figure = Figure(figsize=size, layout='constrained')
      paint(figure.subplots())
      buffer = io.BytesIO()
      figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
      uris.append(data_uri(buffer.getvalue(), 'svg+xml'))
  return Plot(*uris, words)


def curves(title: str, metrics: Curves) -> Plot:
  """Metrics over steps: a colour for each metric, a line for each seed."""

  def paint(axes: Axes) -> None:
    for colour, (name, seeds) in zip(COLOURS, metrics.items(), strict=False):
      for number, (steps, values) in enumerate(seeds):
        stride = 1 + len(steps) // MOST_POINTS
        axes.plot(
          steps[::stride],
          values[::stride],
          color=colour,
          linewidth=1.2,
          alpha=1.0 if len(seeds) == 1 else 0.6,
          marker='o' if len(steps) < 12 else None,
          markersize=3,
          label=None if number else name,
        )
    axes.set_title(title, fontsize=9)
    axes.set_xlabel('step')
    axes.legend(fontsize=8)

  return draw(paint, (4.2, 2.8), f'{title} over steps: {", ".join(metrics)}')


def histogram(made: Sequence[float], data: Sequence[float]) -> Plot:
  """Shares of each class among samples and data."""

  def paint(axes: Axes) -> None:
    places = range(len(made))
    axes.bar([p - 0.2 for p in places], made, 0.4, color=COLOURS[0], label='samples')
    axes.bar([p + 0.2 for p in places], data, 0.4, color=COLOURS[4], label='data')
    if len(made) <= 20:
      axes.set_xticks(list(places))
    axes.set_xlabel('class')
    axes.set_ylabel('share')
    axes.legend(fontsize=8, ncols=2)
    axes.set_ylim(0, 1.2 * max([*made, *data, 1e-9]))

  shares = ', '.join(f'{k}: {a:.3f} of {b:.3f}' for k, (a, b) in enumerate(zip(made, data)))  # noqa: B905
  return draw(paint, (4.2, 2.4), f'Share of samples and of data by class. {shares}')


def distance_over_time(
  groups: dict[str, list[tuple[list[float], list[float]]]], label: str
) -> Plot:
  """Distances against seconds of training: a colour for each group, a line for each run."""

  def paint(axes: Axes) -> None:
    for number, (name, lines) in enumerate(groups.items()):
      colour, marker = COLOURS[number % len(COLOURS)], 'osD^vP*'[number // len(COLOURS) % 7]
      for place, (seconds, values) in enumerate(lines):
        style = {'color': colour, 'marker': marker, 'markersize': 4, 'linewidth': 1.2}
        axes.plot(seconds, values, label=None if place else name, **style)
    axes.set_xlim(left=0)
    axes.set_yscale('log')
    axes.set_xlabel('seconds of training')
    axes.set_title(label, fontsize=9)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))

  words = ', '.join(f'{name} {lines[0][1][-1]:.4g}' for name, lines in groups.items())
  return draw(paint, (6.4, 3.0), f'{label} against seconds of training; at the end: {words}')
