"""Several processes train one model: how they meet, agree, and end together.

All run the same program on their own devices, and meet once a dispatch: in the update's collectives
and in `agree`. The training state is the same on all of them, so the first process alone restores,
claims and writes the workdir, which the others need not even see; the step that it found whole is
what all resume from (`from_first`).

No process waits for ever for one that is gone. What can fail for one, from a claimed workdir to a
full disk, ends all of them in order (`together`). Where one dies, or fails elsewhere (`abandon`),
the others end when their next collective fails, or else when JAX misses its heartbeats: at once
those of process 0, which all others watch, and after HEARTBEAT seconds those of another.

Every process evaluates, all the same: the others would have nothing to do meanwhile, and would have
to wait in a collective, which on CPUs fails after half an hour.
"""

import os
import re
import socket
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.devices import parallel
from jaxgen.errors import UserError

PATIENCE = 120.0  # seconds within which all processes must have come
HEARTBEAT = 30  # seconds of silence after which one counts as dead

# How many processes a launcher has started, and which one this is. mpirun may itself use srun.
LAUNCHERS = (
  ('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK'),
  ('SLURM_STEP_NUM_TASKS', 'SLURM_PROCID'),
)


class Place(NamedTuple):
  """This process among those of a run.

  Attributes:
    count: how many processes there are.
    index: which one this is, from 0.
    coordinator: HOST:PORT where process 0 listens; None: JAX reads it from the environment.
    launched: whether srun or mpirun started the processes; then JAX gives each of them the one GPU
      of its place on its machine, as JAX_LOCAL_DEVICE_IDS can change.
  """

  count: int = 1
  index: int = 0
  coordinator: str | None = None
  launched: bool = False


class PeerFailed(Exception):
  """Another process has failed, and said why."""


def find(
  coordinator: str | None, count: int | None, index: int | None, environment: Mapping[str, str]
) -> Place:
  """This process's place, from --num_processes and --process_id or else from a launcher.

  Raises:
    UserError: the flags are incomplete, or cannot be.
  """
  found = launched(environment) if count is None and index is None else None
  count, index = found or (count, index)
  if coordinator is None and count is None and index is None:
    return Place()
  if coordinator is None and not found:
    raise UserError(
      '--num_processes and --process_id need --coordinator=HOST:PORT: the machine of process 0, '
      'and a free port on it'
    )
  if coordinator is not None and not re.fullmatch(r'\S+:\d{1,5}', coordinator):
    raise UserError(f'--coordinator={coordinator} must be HOST:PORT, as in 10.0.0.1:1234')
  if count is None or index is None:
    raise UserError(
      f'--coordinator={coordinator} needs --num_processes=N, the same for all processes, and '
      '--process_id=0 to N - 1, one for each'
    )
  if count < 1:
    raise UserError(f'--num_processes={count} must be at least 1')
  if not 0 <= index < count:
    raise UserError(
      f'--process_id={index} must lie between 0 and {count - 1} (--num_processes - 1)'
    )
  return Place(count, index, coordinator, bool(found))


def launched(environment: Mapping[str, str]) -> tuple[int, int] | None:
  """How many processes srun or mpirun has started and which one this is; None for a lone one."""
  for size, rank in LAUNCHERS:
    numbers = environment.get(size, ''), environment.get(rank, '')
    if all(number.isdecimal() for number in numbers) and int(numbers[0]) > 1:
      return int(numbers[0]), int(numbers[1])
  return None


def join(place: Place) -> None:
  """Meets the other processes; before JAX is used. All but the first then print errors only.

  Raises:
    UserError: process 0 cannot listen, or nobody knows where it does.
  """
  if place.count == 1:
    return
  if place.index == 0 and place.coordinator:
    check_port(place.coordinator)
  if place.index:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  # Else a SIGTERM would no longer reach our own handler.
  jax.config.update('jax_enable_preemption_service', False)
  # JAX aborts with a stack trace when nobody comes, so we end before it does.
  timer = threading.Timer(PATIENCE, give_up, [place])
  timer.daemon = True
  timer.start()
  try:
    jax.distributed.initialize(
      place.coordinator,
      place.count,
      place.index,
      cluster_detection_method=None if place.launched else 'deactivate',
      initialization_timeout=round(2 * PATIENCE),
      heartbeat_timeout_seconds=HEARTBEAT,
    )
  except ValueError as error:
    raise UserError(
      'cannot tell from the environment where process 0 listens: add --coordinator=HOST:PORT'
    ) from error
  finally:
    timer.cancel()


def check_port(coordinator: str) -> None:
  """Raises UserError where process 0 cannot listen, as JAX would end in a segmentation fault."""
  port = int(coordinator.rpartition(':')[2])
  try:
    with socket.create_server(('', port)):
      pass
  except (OSError, OverflowError) as error:
    raise UserError(
      f'--coordinator={coordinator}: cannot listen on port {port}: {error}'
    ) from error


def give_up(place: Place) -> None:
  """Ends this process, which has waited long enough for the others."""
  at = place.coordinator or 'the address that the launcher names'
  waiting = (
    f'not all of the {place.count} processes have come to {at}'
    if place.index == 0
    else f'process {place.index} of {place.count} could not join: no answer at {at}, or not all '
    'processes have come'
  )
  print(f'jaxgen: {waiting} within {PATIENCE:.0f} seconds', file=sys.stderr, flush=True)
  os._exit(2)


def check_devices() -> None:
  """Raises UserError where processes have different numbers of devices: batches are cut evenly."""
  counts = Counter(device.process_index for device in jax.devices())
  if len(set(counts.values())) > 1:
    listed = ', '.join(f'process {index} has {count}' for index, count in sorted(counts.items()))
    raise UserError(f'every process needs the same number of devices: {listed}')


def first() -> bool:
  """Whether this is the process that reads and writes the workdir."""
  return jax.process_index() == 0


def alone() -> bool:
  """Whether there is no other process."""
  return jax.process_count() == 1


def agree(number: int) -> int:
  """The largest of all processes' numbers, which each must bring here at the same point."""
  return number if alone() else int(parallel.largest(np.asarray(number, np.int32)))


@contextmanager
def together() -> Iterator[None]:
  """What all processes do or none: where it fails for one, all end, with the one message.

  Raises:
    PeerFailed: it failed for another process.
  """
  count, here, error = jax.process_count(), jax.process_index(), None
  try:
    yield
  except (UserError, OSError, MemoryError) as raised:
    if alone() or not jax.distributed.is_initialized():  # said already, further in
      raise
    error = raised
  failed = count - agree(count - here if error else 0)  # the first of them, or `count`
  if failed == count:
    return
  jax.distributed.shutdown()  # waits for all, so that none takes the others' leaving for a crash
  if failed == here:
    raise error
  raise PeerFailed(f'process {failed} has failed')


def require_same(**parts: str) -> None:
  """Raises UserError where this process has not the same text as the first."""
  here = {name: np.uint32(zlib.crc32(text.encode())) for name, text in parts.items()}
  there = from_first(here)
  for name in here:
    if there[name] != here[name]:
      raise UserError(
        f'process {jax.process_index()} has another {name} than process 0: start all with the same '
        'options and the same data'
      )


def from_first(tree: Any) -> Any:
  """The first process's arrays for all, to the bit."""
  if alone():
    return tree
  tree = jax.tree.map(np.asarray, tree)
  sent = parallel.largest(  # of bytes: the others' are zeros
    jax.tree.map(lambda leaf: np.frombuffer(leaf.tobytes(), np.uint8) * np.uint8(first()), tree)
  )
  return jax.tree.map(
    lambda leaf, s: np.frombuffer(s.tobytes(), leaf.dtype).reshape(leaf.shape), tree, sent
  )


def text_from_first(text: str) -> str:
  """The first process's text for all; what the others bring is not looked at."""
  if alone():
    return text
  own = np.frombuffer(text.encode() if first() else b'', np.uint8)
  padded = np.zeros(agree(len(own)), np.uint8)
  padded[: len(own)] = own
  return from_first(padded).tobytes().decode()


def abandon(code: int) -> None:
  """Ends a process that failed alone, so that the others notice.

  The orderly exit would wait for them while they wait for us. A lone process goes on.
  """
  if jax.distributed.is_initialized():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Mute:
  """In place of what writes to the workdir, on all processes but the first: does nothing."""

  evaluated, evaluations = 0, ()

  def __getattr__(self, name: str) -> Callable[..., None]:
    return lambda *_, **__: None
