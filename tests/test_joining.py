"""How a process meets the others of its run, and how it gives them up."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from jaxgen.devices import processes
from jaxgen.devices.processes import Place
from jaxgen.errors import UserError


class Exit(Exception):
  """In place of the end of this process."""


@pytest.fixture
def exit_code(monkeypatch: pytest.MonkeyPatch) -> list[int]:
  """The codes with which this process would have ended."""
  codes: list[int] = []

  def leave(code: int) -> None:
    codes.append(code)
    raise Exit

  monkeypatch.setattr(processes.os, '_exit', leave)
  return codes


@pytest.mark.parametrize(
  ('place', 'words'),
  [
    (Place(2, 0, 'a:1'), 'not all of the 2 processes have come to a:1 within 120 seconds'),
    (Place(3, 1, 'a:1'), 'process 1 of 3 could not join: no answer at a:1, or not all processes'),
    (Place(2, 0, None, True), 'come to the address that the launcher names within 120 seconds'),
  ],
)
def test_giving_up_says_who_is_missing(
  place: Place, words: str, exit_code: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
  with pytest.raises(Exit):
    processes.give_up(place)
  assert words in capsys.readouterr().err
  assert exit_code == [2]


def test_only_a_process_with_peers_is_abandoned(
  exit_code: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
  flushed: list[str] = []
  for name in ('stdout', 'stderr'):
    stream = SimpleNamespace(flush=lambda name=name: flushed.append(name))
    monkeypatch.setattr(processes.sys, name, stream)
  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: False)
  processes.abandon(3)
  assert exit_code == []
  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
  with pytest.raises(Exit):
    processes.abandon(3)
  assert exit_code == [3]
  assert sorted(flushed) == ['stderr', 'stdout']


class Timer:
  """In place of threading's: remembers what was asked of it."""

  made: list['Timer']
  daemon = False

  def __init__(self, seconds: float, action: Callable[..., None], arguments: list[Any]) -> None:
    self.asked, self.running, self.made = (seconds, action, arguments), False, self.made
    self.made.append(self)

  def start(self) -> None:
    assert self.daemon  # else it would keep a finished program
    self.running = True

  def cancel(self) -> None:
    self.running = False


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
  """What `join` asks of JAX, the timer and the system."""
  seen = SimpleNamespace(joined=[], options={}, timers=[], moved=[], ports=[], error=None)

  def initialize(*place: Any, **options: Any) -> None:
    assert seen.timers[-1].running
    seen.joined.append((*place, options))
    if seen.error:
      raise seen.error

  monkeypatch.setattr(Timer, 'made', seen.timers, raising=False)
  monkeypatch.setattr(processes.threading, 'Timer', Timer)
  system = {'open': lambda *_: 9, 'devnull': '', 'O_WRONLY': 1}
  dup2 = lambda there, here: seen.moved.append((there, here))  # noqa: E731
  monkeypatch.setattr(processes, 'os', SimpleNamespace(dup2=dup2, **system))
  monkeypatch.setattr(processes, 'check_port', seen.ports.append)
  config = SimpleNamespace(update=seen.options.__setitem__)
  distributed = SimpleNamespace(initialize=initialize)
  monkeypatch.setattr(processes, 'jax', SimpleNamespace(config=config, distributed=distributed))
  stdout = SimpleNamespace(fileno=lambda: 1)
  monkeypatch.setattr(processes, 'sys', SimpleNamespace(stdout=stdout))
  return seen


def test_a_lone_process_meets_nobody(meeting: SimpleNamespace) -> None:
  processes.join(Place())
  assert (meeting.joined, meeting.timers, meeting.moved) == ([], [], [])


@pytest.mark.parametrize(
  ('place', 'detection', 'ports', 'silent'),
  [
    (Place(2, 0, 'a:1'), 'deactivate', ['a:1'], False),
    (Place(2, 1, 'a:1'), 'deactivate', [], True),
    (Place(3, 0, None, True), None, [], False),
    (Place(3, 2, 'a:1', True), None, [], True),
  ],
)
def test_processes_meet(
  place: Place, detection: str | None, ports: list[str], silent: bool, meeting: SimpleNamespace
) -> None:
  """The first looks at its port, the others fall silent, and the timer ends before JAX would."""
  processes.join(place)
  ((coordinator, count, index, options),) = meeting.joined
  assert (coordinator, count, index) == (place.coordinator, place.count, place.index)
  assert options['cluster_detection_method'] == detection
  assert options['heartbeat_timeout_seconds'] == processes.HEARTBEAT
  assert options['initialization_timeout'] > processes.PATIENCE
  assert isinstance(options['initialization_timeout'], int)
  assert meeting.options == {'jax_enable_preemption_service': False}
  (timer,) = meeting.timers
  assert timer.asked == (processes.PATIENCE, processes.give_up, [place])
  assert not timer.running
  assert meeting.ports == ports
  assert meeting.moved == ([(9, 1)] if silent else [])


def test_a_launcher_that_does_not_say_where_to_meet(meeting: SimpleNamespace) -> None:
  meeting.error = ValueError('coordinator_address should be defined.')
  with pytest.raises(UserError, match='add --coordinator=HOST:PORT'):
    processes.join(Place(2, 1, None, True))
  assert not meeting.timers[-1].running


def test_a_free_port_stays_free() -> None:
  processes.check_port(f'127.0.0.1:{free_port()}')


def free_port() -> int:
  """A port that nobody listens on."""
  with processes.socket.create_server(('', 0)) as server:
    return server.getsockname()[1]
