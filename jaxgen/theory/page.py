"""Findings as a Markdown table, and as one self-contained page of HTML."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from jaxgen.evaluation.provenance import revision
from jaxgen.report.page import environment
from jaxgen.report.plots import COLOURS, Plot, draw, legend, logarithmic
from jaxgen.theory.claims import ERRORS, Finding, Row, Sketch
from jaxgen.version import __version__

TEMPLATE = Path(__file__).with_name('template.html')
HEAD = '| claim | predicted | measured | agrees |\n|---|---|---|---|'
DIGITS = 6  # of numbers without randomness


def number(value: float, error: float = 0.0) -> str:
  """With two digits of its error, or with DIGITS of its own."""
  if not error > 0.0 or not math.isfinite(value):
    return f'{value:.{DIGITS}g}'
  exponent = math.floor(math.log10(error))
  if exponent < -6 or exponent > 3:
    return f'{value:.{DIGITS}g} ± {error:.2g}'
  decimals = max(0, 1 - exponent)
  return f'{value:.{decimals}f} ± {error:.{decimals}f}'


def cells(row: Row) -> tuple[str, str, str, str]:
  """The row in words: quantity, predicted, measured, whether they agree and why not better."""
  bound = '' if row.relation == '=' else f'{row.relation} '
  room = f' (± {row.tolerance:.2g})' if row.tolerance else ''
  verdict = 'yes' if row.agrees else '**no**'
  said = f'{verdict}; {row.note}' if row.note else verdict
  return row.quantity, bound + number(row.predicted) + room, number(row.measured, row.error), said


def table(rows: Sequence[Row]) -> str:
  """Lines of a Markdown table, without its head."""
  return '\n'.join(
    '| ' + ' | '.join(c.replace('|', '\\|') for c in cells(row)) + ' |' for row in rows
  )


def section(finding: Finding) -> str:
  """A claim with its rows, in Markdown."""
  said = '\n\n'.join(finding.statement)
  return f'## {finding.title}\n\n{said}\n\n{HEAD}\n{table(finding.claim.rows)}\n'


def heading(found: Sequence[Finding]) -> str:
  """How many rows agree, and whether those that are random miss by as much as they should."""
  rows = [row for finding in found for row in finding.claim.rows]
  drawn = [r for r in rows if r.error > 10.0 * r.tolerance and r.relation == '=']
  said = f'{sum(row.agrees for row in rows)} of {len(rows)} rows of {len(found)} claims agree.'
  if len(drawn) > 1:
    missed = np.sqrt(np.mean([((r.measured - r.predicted) / r.error) ** 2 for r in drawn]))
    said += (
      f' The {len(drawn)} that are random alone miss by {missed:.2f} standard errors (1 is due).'
    )
  return said


def reading() -> str:
  """How the tables are to be read."""
  return (
    f'A row agrees where both numbers differ by at most {ERRORS:.0f} standard errors of the '
    'measurement plus the tolerance in brackets behind the prediction, which covers rounding or '
    'what the note names. A measurement without ± has no randomness, or is held to a bound.'
  )


def made() -> str:
  """The command and the commit."""
  command = ' '.join(['python -m jaxgen.theory', *sys.argv[1:]])
  return f'`{command}`, jaxgen {__version__}, revision {revision()}'


def markdown(found: Sequence[Finding]) -> str:
  """All claims, in Markdown."""
  parts = ['# What the theory says, measured', heading(found), reading(), f'Made by {made()}.']
  return '\n\n'.join([*parts, *map(section, found)])


def plot(sketch: Sketch, words: str) -> Plot:
  """Theory as lines, measurements as marks."""
  named = list(dict.fromkeys([*sketch.predicted, *sketch.measured]))
  colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(named)}

  def paint(axes: Axes) -> None:
    for name, (x, y) in sketch.predicted.items():
      axes.plot(x, y, color=colours[name], linewidth=1.2, label=name)
    for name, (x, y) in sketch.measured.items():
      label = None if name in sketch.predicted else name
      axes.plot(x, y, 'o', color=colours[name], markersize=4, label=label)
    for scale in sketch.log:
      logarithmic(axes, scale)
    axes.set_xlabel(sketch.x)
    axes.set_ylabel(sketch.y)
    legend(axes)

  return draw(paint, (5.6, 3.2), f'{words}: {sketch.y} over {sketch.x}')


def page(found: Sequence[Finding]) -> str:
  """All claims as HTML."""
  return (
    environment()
    .from_string(TEMPLATE.read_text())
    .render(
      findings=found,
      heading=heading(found),
      reading=reading(),
      made=made().replace('`', ''),
      cells=cells,
      plots={f.name: plot(f.claim.sketch, f.title) for f in found if f.claim.sketch},
    )
  )
