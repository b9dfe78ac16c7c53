"""SIGTERM, Ctrl-C and a closed output: the run saves and stops, at once where nothing is lost."""

import os
import signal
import socket
import sys
import threading
from types import TracebackType
from typing import Self

from jaxgen.devices import processes


class Stopped(Exception):
  """The run was asked to stop; its state is saved."""

  def __init__(self, number: int, step: int) -> None:
    super().__init__(f'{signal.Signals(number).name}: stopped at step {step}, which is saved')
    self.exit_code = 128 + number  # as shells and schedulers report it


class StopRequests:
  """Watches for requests to stop; a context manager.

  Python runs signal handlers between two of its own instructions, but compiling a network or
  drawing samples are single calls that may take minutes. So a thread watches: it stops the process
  by itself while all that is computed is on disk, or when Ctrl-C comes a second time. Several
  processes stop together, after a step that they agree on.

  Attributes:
    number: the first signal that came; 0 while none has.
    saved: the step on disk while everything after it can be had again, else None.
  """

  def __init__(self) -> None:
    self.number = 0
    self.saved: int | None = None

  def __enter__(self) -> Self:
    self._ours, self._kernels = socket.socketpair()
    self._kernels.setblocking(False)
    self._before = {
      number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)
    }
    self._wakeup = signal.set_wakeup_fd(self._kernels.fileno())
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    signal.set_wakeup_fd(self._wakeup)
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._kernels.close()
    self._thread.join()
    self._ours.close()

  def _watch(self) -> None:
    while received := self._ours.recv(1):
      number = received[0]
      if self.number and number == signal.SIGINT:
        os._exit(128 + number)
      if self.number or number not in self._before:
        continue
      self.number = number
      if self.saved is not None and processes.alone():
        stopped = Stopped(number, self.saved)
        self.say(f'jaxgen: {stopped}; the same command resumes', sys.stderr)
        os._exit(stopped.exit_code)
      name = signal.Signals(number).name
      self.say(f'{name}: saving after this step (Ctrl-C again stops at once)', sys.stderr)

  def agreed(self) -> int:
    """The signal for which all processes stop, or 0; they must all ask at the same steps."""
    return processes.agree(self.number)

  def safe(self, step: int) -> None:
    """Tells that all that was computed up to this step is on disk; on all processes.

    Raises:
      Stopped: a request to stop came before.
    """
    self.saved = step
    if number := self.agreed():
      raise Stopped(number, step)

  def say(self, text: str, file: object = None) -> None:
    """Prints; when nobody reads the output any more, that is a request to stop."""
    try:
      print(text, file=file, flush=True)
    except BrokenPipeError:
      self.number = self.number or signal.SIGPIPE
      silence()


def silence() -> None:
  """Lets all further output, and Python's own at exit, go nowhere."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except BrokenPipeError:
      os.dup2(nowhere, stream.fileno())
  os.close(nowhere)
