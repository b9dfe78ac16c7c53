"""How far something is that takes its time: a bar on a terminal, in a file a line now and then."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax

REDRAW = 0.2  # seconds between two states of a bar
SPARSE = 10.0  # seconds between two lines, at least
LINES = 10  # in a file, about, however long it takes
BAR = 24  # letters

Item = TypeVar('Item')


def follow(
  items: Iterable[Item],
  count: int,
  name: str,
  unit: str = 'samples',
  size: Callable[[Any], int] = len,
) -> Iterator[Item]:
  """Passes items on, and says on stderr how much is done and how long the rest will take.

  By the pace since the first item, which may have had to be compiled. One process of several says
  it.

  Args:
    items: each is taken for done when the next is asked for.
    count: of units in all of them.
    name: of what is done.
    unit: what is counted.
    size: the units in an item.
  """
  if jax.process_index():
    yield from items
    return
  say = draw if sys.stderr.isatty() else write
  said, paced = time.monotonic(), None  # when the first item was done
  done, timed, left = 0, 0, None
  say(name, 0, count, unit, None)
  try:
    for item in items:
      yield item
      done += size(item)
      now = time.monotonic()
      if paced is None:
        paced, timed = now, done
      else:
        left = (now - paced) / (done - timed) * (count - done)
      pause = REDRAW if say is draw else max(SPARSE, (now - paced + (left or 0.0)) / LINES)
      if now - said >= pause:
        said = now
        say(name, done, count, unit, left)
  finally:
    if say is draw:
      print('\r\033[K', end='', file=sys.stderr, flush=True)


def write(name: str, done: int, count: int, unit: str, left: float | None) -> None:
  """A line for a file, neither of the beginning nor of the end."""
  if 0 < done < count:
    print(sentence(name, done, count, unit, left), file=sys.stderr, flush=True)


def draw(name: str, done: int, count: int, unit: str, left: float | None) -> None:
  """A bar in the place of the one before."""
  full = BAR * done // max(1, count)
  line = f'[{"#" * full}{"-" * (BAR - full)}] {sentence(name, done, count, unit, left)}'
  print(f'\r\033[K{line[: shutil.get_terminal_size().columns - 1]}', end='', file=sys.stderr)
  sys.stderr.flush()


def sentence(name: str, done: int, count: int, unit: str, left: float | None) -> str:
  """What both say; without a time to go as long as there is no pace."""
  to_go = '' if left is None else f'  ETA {clock(left)}'
  return f'{name}: {done} of {count} {unit}{to_go}'


def clock(seconds: float) -> str:
  """1:02:03, or 2:03."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'
