"""Distance against time: who reached what, when."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Point(NamedTuple):
  """A mark on the way of a contender.

  Attributes:
    seconds: of training so far, without the start, drawing and scoring.
    updates: so far.
    distance: of the samples to the test images, the lower the better.
    error: its standard error, of this set of samples.
  """

  seconds: float
  updates: int
  distance: float
  error: float


class Curve(NamedTuple):
  """What a contender did.

  Attributes:
    points: in the order of time.
    start: seconds from the start of the process, with an empty compilation cache, to the end of
      the first update.
    batch, parameters, device: as in `Learner`.
  """

  points: list[Point]
  start: float
  batch: int
  parameters: int
  device: str

  @property
  def final(self) -> float:
    """The distance at the end."""
    return self.points[-1].distance

  def to_json(self) -> dict[str, Any]:
    """The fields by name."""
    return self._asdict() | {'points': [point._asdict() for point in self.points]}


class Reached(NamedTuple):
  """When a curve came down to a distance; `at_most` where that was before its first mark."""

  seconds: float
  at_most: bool


def reached(points: Sequence[Point], distance: float) -> Reached | None:
  """When a curve first came down to a distance: between marks on a line of the logarithms.

  Returns:
    None if it never did.
  """
  if points[0].distance <= distance:
    return Reached(points[0].seconds, True)
  for before, after in itertools.pairwise(points):
    if after.distance <= distance:
      drop = math.log(before.distance / distance) / math.log(before.distance / after.distance)
      return Reached(before.seconds * (after.seconds / before.seconds) ** drop, False)
  return None


def races(curves: dict[str, Curve]) -> list[dict[str, Any]]:
  """Each of jaxgen's recipes against each peer: the times to the peer's final distance.

  A peer's own time is when it first was so near, which may be before its end. `ratio` is of the
  seconds of training, `ratio_with_start` counts each one's start too; None where jaxgen never came
  so near.
  """
  ours = {label: curve for label, curve in curves.items() if label.startswith('jaxgen')}
  theirs = {label: curve for label, curve in curves.items() if label not in ours}
  found = []
  for (peer, other), (label, own) in itertools.product(theirs.items(), ours.items()):
    they, we = reached(other.points, other.final), reached(own.points, other.final)
    row = {'peer': peer, 'jaxgen': label, 'distance': other.final, 'peer_seconds': they.seconds}
    row |= {'seconds': None, 'at_least': False, 'ratio': None, 'ratio_with_start': None}
    if we:
      row |= {
        'seconds': we.seconds,
        'at_least': we.at_most,
        'ratio': they.seconds / we.seconds,
        'ratio_with_start': (other.start + they.seconds) / (own.start + we.seconds),
      }
    found.append(row)
  return found


def curves_text(name: str, curves: dict[str, Curve], absent: dict[str, str], floor: float) -> str:
  """A family's distances at its marks, as a table in Markdown."""
  count = max((len(curve.points) for curve in curves.values()), default=0)
  marks = [f'1/{2 ** (count - 1 - i)}' for i in range(count - 1)] + ['all']
  lines = [(name, 'start, s', 'updates/s', 'batch', 'Mparams', *marks, 'of the time')[:-1]]
  for label, curve in curves.items():
    last = curve.points[-1]
    distances = (f'{point.distance:.1f} ± {point.error:.1f}' for point in curve.points)
    rate, millions = last.updates / last.seconds, curve.parameters / 1e6
    lines.append(
      (label, f'{curve.start:.1f}', f'{rate:.1f}', f'{curve.batch}', f'{millions:.2f}', *distances)
    )
  lines.append(('real images', '', '', '', '', *[''] * (count - 1), f'{floor:.1f}'))
  notes = [f'{label}: {reason}' for label, reason in absent.items()]
  return '\n'.join([markdown(lines), *notes])


def races_text(races: Sequence[dict[str, Any]], goal: float) -> str:
  """Who came to the peer's final distance, and when, as a table in Markdown."""
  head = ('to the final distance of', 'which is', 'it took, s', 'beside it', 'took, s', 'times')
  lines = [(*head, f'with the start (goal: {goal:g} times)')]
  for race in races:
    sign = '≥ ' if race['at_least'] else ''
    shown = ('not reached', '-', '-')
    if race['ratio']:
      shown = (
        f'{"≤ " if sign else ""}{race["seconds"]:.1f}',
        f'{sign}{race["ratio"]:.2f} x',
        f'{sign}{race["ratio_with_start"]:.2f} x',
      )
    peer = race['peer'], f'{race["distance"]:.1f}', f'{race["peer_seconds"]:.1f}'
    lines.append((*peer, race['jaxgen'], *shown))
  return markdown(lines)


def markdown(lines: Sequence[tuple[str, ...]]) -> str:
  """A table; the first line is its head."""
  head, *rest = (f'| {" | ".join(line)} |' for line in lines)
  return '\n'.join([head, '|' + '---|' * len(lines[0]), *rest])
