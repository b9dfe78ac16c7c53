"""The report's plots, each drawn for a light and for a dark page, as SVG in data URIs."""

import base64
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from jaxgen.evaluation.protocol import deviation

# Okabe and Ito's colours, told apart by colour-blind readers, on light and on dark.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f')
INK = {'light': '#333333', 'dark': '#d0d0d0'}
PALER = b'#0072b2', b'#2f8fd0'  # the blue that is too dark for a dark page, and what stands for it
MOST_POINTS = 500  # of a curve
MOST_CURVES = 24  # of a group that are shown at once; of more, a click shows the others
MOST_NAMED = 10  # lines of a plot that a legend names; of more, each point bears its name
MOST_TICKS = 6  # that are labelled one by one, and as many letters in each
NEAR = 0.04  # of the width of a plot, where two labels meet

Curves = dict[str, list[tuple[list[float], list[float]]]]  # kind -> (steps, values) of each seed
Series = list[list[tuple[Any, float]]]  # for each point of a line, (x, y) of each seed


class Plot(NamedTuple):
  """Data URIs of one plot on both pages, and what it shows for who cannot see it.

  Attributes:
    wide: whether it wants the whole width of a page.
  """

  light: str
  dark: str
  alternative: str
  wide: bool = False


def data_uri(content: bytes, kind: str) -> str:
  """A file inside a page."""
  return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def draw(
  paint: Callable[[Axes], None], size: tuple[float, float], words: str, wide: bool = False
) -> Plot:
  """Calls `paint` on empty axes, once for each page; the same input gives the same bytes."""
  uris = []
  for page in ('light', 'dark'):
    ink = INK[page]
    style: dict[str, Any] = dict.fromkeys(
      ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), ink
    )
    style |= {'svg.hashsalt': 'jaxgen', 'font.size': 9, 'legend.frameon': False}
    style |= {'svg.fonttype': 'none'}  # letters are the reader's, and a plot a third of the bytes
    style |= {'axes.spines.top': False, 'axes.spines.right': False}
    style |= {'text.parse_math': False}  # names are as they are, dollars and all
    style |= {'axes.grid': True, 'grid.color': ink, 'grid.alpha': 0.15, 'axes.axisbelow': True}
    with matplotlib.rc_context(style):
      figure = Figure(figsize=size, layout='constrained')
      paint(figure.subplots())
      buffer = io.BytesIO()
      figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
      content = buffer.getvalue()
      uris.append(data_uri(content if page == 'light' else content.replace(*PALER), 'svg+xml'))
  return Plot(*uris, words, wide)


def logarithmic(axes: Axes, which: str) -> None:
  """Makes the scale of 'x' or 'y' logarithmic, with labels at powers of ten, or at 1, 2, 5 too."""
  (axes.set_xscale if which == 'x' else axes.set_yscale)('log')
  axis: Axis = getattr(axes, f'{which}axis')
  low, high = axis.get_view_interval()
  powers = (1.0,) if high > 100.0 * low else (1.0, 2.0, 5.0)
  axis.set_major_locator(LogLocator(subs=powers))
  axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,g}'))
  axis.set_minor_formatter(NullFormatter())


def shown(name: str) -> str:
  """A name that a legend does not take for one to be left out."""
  return f'\u200b{name}' if name.startswith('_') else name


def legend(axes: Axes) -> None:
  """Names what is drawn, if anything: beside the plot, or of one or two where nothing is."""
  entries = len(axes.get_legend_handles_labels()[1])
  if entries:
    beside = {'loc': 'center left', 'bbox_to_anchor': (1.0, 0.5)} if entries > 2 else {}
    axes.legend(fontsize=8, **beside)


def name_points(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
  """Writes each name beside its point, where it covers no other name if there is such a place."""
  axes.figure.draw_without_rendering()  # places are known only then
  taken = []
  for name, point in sorted(points.items(), key=lambda item: item[1]):
    text = axes.annotate(name, point, (0, 0), textcoords='offset points', fontsize=7)
    for right, up in itertools.product((1, -1), (0, 1, -1, 2, -2, 3, -3)):
      text.set_horizontalalignment('left' if right > 0 else 'right')
      text.xyann = (5 * right, 7 * up - 3)
      box = text.get_window_extent()
      if not any(box.overlaps(other) for other in taken):
        break
    taken.append(box)


def curves(name: str, kinds: Curves) -> Plot:
  """One metric over steps: a colour for training and one for validation, a line for each seed."""

  def paint(axes: Axes) -> None:
    for colour, (kind, seeds) in zip(COLOURS, kinds.items(), strict=False):
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
          label=None if number else kind,
        )
    axes.set_title(name, fontsize=8)
    axes.set_xlabel('step')
    if len(kinds) > 1:
      axes.figure.legend(fontsize=7, loc='outside lower center', ncols=2)

  return draw(paint, (3.3, 2.0), f'{name} over steps, {" and ".join(kinds)}')


def histogram(made: Sequence[float], data: Sequence[float], names: Sequence[str]) -> Plot:
  """Shares of each class among samples and data, of so called classes."""

  def paint(axes: Axes) -> None:
    places = range(len(made))
    axes.bar([p - 0.2 for p in places], made, 0.4, color=COLOURS[0], label='samples')
    axes.bar([p + 0.2 for p in places], data, 0.4, color=COLOURS[4], label='data')
    if len(made) <= 20:
      slanted = {'rotation': 45, 'ha': 'right'} if max(map(len, names)) > 2 else {}
      axes.set_xticks(list(places), names, **slanted)
    axes.set_xlabel('class')
    axes.set_ylabel('share')
    axes.legend(fontsize=8, ncols=2)
    axes.set_ylim(0, 1.2 * max([*made, *data, 1e-9]))

  shares = ', '.join(f'{k}: {a:.3f} of {b:.3f}' for k, a, b in zip(names, made, data))  # noqa: B905
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
        axes.plot(seconds, values, label=None if place else shown(name), **style)
    axes.set_xlim(left=0)
    logarithmic(axes, 'y')
    axes.set_xlabel('seconds of training')
    axes.set_title(label, fontsize=9)
    legend(axes)

  ends = {name: np.mean([values[-1] for _, values in lines]) for name, lines in groups.items()}
  words = ', '.join(f'{name} {end:.4g}' for name, end in ends.items())
  return draw(paint, (6.4, 3.0), f'{label} against seconds of training; at the end: {words}')


def sweep(
  lines: dict[str, Series],
  x: str,
  y: str,
  protocol: str,
  log: Sequence[str] = (),
  real: float | None = None,
) -> Plot:
  """A number along something: a dot for each seed, a line through the means, bars of deviations.

  Args:
    lines: by name, '' where there is one only; x are numbers, or words in their order. A few
      numbers too near each other to be labelled stand in their order too.
    x: what is along the plot.
    y: the number in words.
    protocol: how it was measured.
    log: 'x', 'y' or both, whose scale is logarithmic where all values are positive.
    real: what real images score, drawn across.
  """
  found = [value for series in lines.values() for seeds in series for value, _ in seeds]
  in_order = ordered(found, 'x' in log)

  def place(value: Any) -> float:
    return float(in_order.index(value) if in_order else value)

  crowded = len(lines) > MOST_NAMED and all(len(series) == 1 for series in lines.values())

  def paint(axes: Axes) -> None:
    named = {}
    for number, (name, series) in enumerate(lines.items()):
      colour, marker = COLOURS[number % len(COLOURS)], 'osD^vP*'[number // len(COLOURS) % 7]
      style = {'color': colour, 'marker': marker}
      dots = [(place(value), y) for seeds in series for value, y in seeds]
      axes.plot(*zip(*dots, strict=True), linestyle='', markersize=3, alpha=0.5, **style)
      means = sorted(
        (np.mean([place(v) for v, _ in seeds]), np.mean([y for _, y in seeds]), spread(seeds))
        for seeds in series
      )
      middle, heights, spreads = zip(*means, strict=True)
      named[name] = middle[0], heights[0]
      line = '' if in_order else '-'
      joined = {'linestyle': line, 'linewidth': 1.2, 'capsize': 3, 'markersize': 5}
      label = None if crowded else shown(name) or None
      axes.errorbar(middle, heights, spreads, label=label, **joined, **style)
    if real is not None:
      axes.axhline(real, color=COLOURS[-1], linestyle=':', linewidth=1.2, label='real images')
    values = [y for series in lines.values() for seeds in series for _, y in seeds]
    if 'x' in log and not in_order and min(map(place, found), default=0) > 0:
      logarithmic(axes, 'x')
    if 'y' in log and min([*values, *([] if real is None else [real])], default=0) > 0:
      logarithmic(axes, 'y')
    tick(axes, in_order or sorted(set(found)), place)
    axes.set_xlabel(x)
    axes.set_title(y, fontsize=9)
    if crowded:
      name_points(axes, named)
    legend(axes)

  size = (10.0, 6.0) if crowded else (5.6, 3.0)
  return draw(paint, size, f'{y} along {x}, {protocol}. Means: {in_words(lines)}', crowded)


def in_words(lines: dict[str, Series]) -> str:
  """The means along each line."""
  return '; '.join(
    ', '.join(f'{name} {seeds[0][0]}: {np.mean([y for _, y in seeds]):.4g}' for seeds in series)
    for name, series in lines.items()
  )


def ordered(values: Sequence[Any], log: bool) -> list[Any]:
  """Those of x that stand in their order, not to scale: words, and numbers whose labels would meet.

  None where a scale, logarithmic or not, shows them all.
  """
  if not all_numbers(values):
    return list(dict.fromkeys(values))
  found = sorted(set(values))
  if not labelled(found):
    return []
  scale = np.log(found) if log and found[0] > 0 else np.asarray(found, float)
  return found if (np.diff(scale) < NEAR * np.ptp(scale)).any() else []


def all_numbers(values: Sequence[Any]) -> bool:
  """Whether they are no words."""
  return all(isinstance(value, int | float) for value in values)


def tick_labels(values: Sequence[Any]) -> list[str]:
  """How they are written along x."""
  return [f'{value:g}' for value in values] if all_numbers(values) else list(map(str, values))


def labelled(values: Sequence[Any]) -> bool:
  """Whether each has its label: words, and a few chosen numbers; not values as measured."""
  chosen = len(values) <= MOST_TICKS and all(
    len(name) <= MOST_TICKS for name in tick_labels(values)
  )
  return chosen or not all_numbers(values)


def tick(axes: Axes, values: Sequence[Any], place: Callable[[Any], float]) -> None:
  """Labels values along x one by one."""
  if labelled(values):
    rotation = 30 if len(values) > 4 else 0
    axes.set_xticks([place(value) for value in values], tick_labels(values), rotation=rotation)
    axes.xaxis.set_minor_locator(NullLocator())


def spread(seeds: Sequence[tuple[Any, float]]) -> float:
  """The deviation of a sample; 0 of one seed."""
  return deviation([y for _, y in seeds]) if len(seeds) > 1 else 0.0
