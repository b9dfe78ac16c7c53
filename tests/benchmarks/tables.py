"""Timings as rows of JSON and as text."""

import statistics
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.interleave import Timing, ratio
from tests.benchmarks.startup import Start

QUIET = 0.1  # share of the cores


def measure_row(name: str, timings: dict[str, Timing], absent: dict[str, str]) -> dict[str, Any]:
  """A measure as JSON has it: every contender's numbers, and how many times faster jaxgen is.

  `ratio` compares with jaxgen's first entry, which runs as its experiment configures it.
  """
  first = next((timings[label] for label in timings if label.startswith('jaxgen')), None)
  contenders = {
    label: {
      **timing._asdict(),
      'median_images_per_second': timing.median,
      'spread': timing.spread,
      'ratio': ratio(first, timing) if first else None,
    }
    for label, timing in timings.items()
  }
  return {'name': name, 'contenders': contenders, 'absent': absent}


def highest(rows: Sequence[dict[str, Any]]) -> float:
  """The most floating-point operations a second of all contenders; 0 where there are none."""
  contenders = [found for row in rows for found in row['contenders'].values()]
  return max((one['median_images_per_second'] * one['flops'] for one in contenders), default=0.0)


def measure_text(row: dict[str, Any]) -> str:
  """A measure as a table.

  MFU is the share of `ceiling`, the most floating-point operations a second that products of large
  matrices were seen to do here, of any side and precision.
  """
  head = (
    row['name'],
    *(
      'images/s',
      'steps/s',
      'spread',
      'jaxgen is',
      'CPU ms/step',
      'Mparams',
      'MFLOP/image',
      'GFLOP/s',
      'MFU',
    ),
    *('first step s', 'compile s', 'peak MB'),
  )
  lines, ceiling = [head], row.get('ceiling')
  for label, found in row['contenders'].items():
    rate, steps = found['median_images_per_second'], statistics.median(found['steps_per_second'])
    flops = found['flops'] / 1e6
    lines.append(
      (
        label,
        number(rate),
        number(steps),
        f'{found["spread"]:.0%}',
        f'{found["ratio"]:.2f} x' if found['ratio'] else '-',
        number(1e3 * min(found['cpu_seconds'])),
        f'{found["parameters"] / 1e6:.2f}',
        f'{flops:.1f}' if flops else '-',
        number(rate * flops / 1e3) if flops else '-',
        f'{rate * found["flops"] / ceiling:.0%}' if flops and ceiling else '-',
        f'{found["first_step"]:.1f}',
        f'{found["compile"]:.1f}',
        f'{found["peak_megabytes"]:.0f}',
      )
    )
  notes = [f'  {label}: {reason}' for label, reason in row['absent'].items()]
  return '\n'.join(['', aligned(lines), *notes, others(row)])


def growth_text(row: dict[str, Any]) -> str:
  """A curve as a table: for every contender, its time and memory against its work.

  `time/work` is seconds a floating-point operation, relative to the curve's first place: below 1
  the cost grows more slowly than the work, above 1 faster.
  """
  lines = [(row['name'], 'contender', 'images/s', 'MFLOP/image', 'time/work', 'peak MB')]
  base: dict[str, float] = {}
  for point in row['points']:
    for label, found in point['contenders'].items():
      rate, flops = found['median_images_per_second'], found['flops']
      cost = 1.0 / (rate * flops)
      relative = cost / base.setdefault(label, cost)
      memory = f'{found["peak_megabytes"]:.0f}'
      values = (number(rate), f'{flops / 1e6:.1f}', f'{relative:.2f}', memory)
      lines.append((point['at'], label, *values))
  return '\n'.join(['', aligned(lines), others(row)])


def start_rows(starts: Sequence[Start]) -> list[dict[str, Any]]:
  """Starts by experiment."""
  names = dict.fromkeys(start.experiment for start in starts)
  return [
    {
      'experiment': name,
      **{
        kind: [s.seconds for s in starts if s.experiment == name and s.cold == (kind == 'cold')]
        for kind in ('cold', 'warm')
      },
    }
    for name in names
  ]


def start_text(rows: list[dict[str, Any]]) -> str:
  """Starts as a table of medians."""
  lines = [('process start to first step, digits', 'cold cache s', 'warm cache s')]
  for row in rows:
    medians = (f'{statistics.median(row[kind]):.1f}' for kind in ('cold', 'warm'))
    lines.append((row['experiment'], *medians))
  return '\n'.join(['', aligned(lines), others(rows[0])])


def others(row: dict[str, Any]) -> str:
  """Whether the machine was free.

  Where it was not, ratios flatter jaxgen: PyTorch's threads wait for each other in a loop, and were
  seen to lose a factor of 10 and more to a busy neighbour.
  """
  line = f'  other processes took {row["others"]:.0%} of the cores meanwhile'
  return line + (': do not quote these times and ratios' if row['others'] > QUIET else '')


def number(value: float) -> str:
  """Three digits or more."""
  return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def aligned(lines: list[tuple[str, ...]]) -> str:
  """Columns, the first to the left and the others to the right."""
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return '\n'.join(
    '  '.join(
      cell.rjust(width) if i else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    for line in lines
  )
