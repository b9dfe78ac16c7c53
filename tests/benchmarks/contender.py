"""Who does what: the words that the benchmark and its worker processes share."""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

INSTALL = 'pip install --no-deps -r tests/benchmarks/peers.txt'
NEEDS = {
  'jaxgen': (),
  'pytorch': ('torch',),
  'diffusers': ('torch', 'diffusers'),
  'pythae': ('torch', 'pythae'),
}
# Matrices multiplied at once to see the most that a device can do, and their side.
PRODUCTS, PRODUCTS_ON_CPU = (8, 4096), (1, 1024)


class Contender(NamedTuple):
  """One implementation at one piece of work, in a process of its own.

  Attributes:
    side: the module `tests.benchmarks.<side>_side` that builds it.
    work: training, forward, sampling, features or ceiling.
    source: the experiment, as --config takes it.
    overrides: further fields of its config, as the command line takes them.
    image_shape: (H, W, C) of the images, which are random bytes.
    variant: how a peer runs: fused (optimizer), compile, channels_last, bf16.
    devices: virtual devices of the CPU; 0 as the config says.
  """

  side: str
  work: str
  source: str
  overrides: tuple[str, ...] = ()
  image_shape: tuple[int, int, int] = (28, 28, 1)
  variant: tuple[str, ...] = ()
  devices: int = 0

  def dumps(self) -> str:
    """JSON that `loads` takes back."""
    return json.dumps(self._asdict())

  @classmethod
  def loads(cls, text: str) -> 'Contender':
    """The contender that `dumps` wrote."""
    fields = json.loads(text)
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


class Work(NamedTuple):
  """Something to be timed.

  Attributes:
    run: does so many units of it; all of it is done when the call returns.
    steps: steps of one unit; 1 where there are no steps.
    images: images of one unit.
    parameters: of all networks involved.
    flops: of the matrix products and convolutions of one image; 0 where nobody counted.
    device: what it runs on.
  """

  run: Callable[[int], None]
  steps: int
  images: int
  parameters: int
  flops: float
  device: str


class Measure(NamedTuple):
  """A comparison: contenders by label, the first of them jaxgen as its experiment configures it.

  Where `alone`, one ends before the next begins, as they have no room beside each other.
  """

  name: str
  contenders: dict[str, Contender]
  alone: bool = False


def has_accelerator() -> bool:
  """Whether there is a GPU, found without starting JAX in this process."""
  return any(Path('/dev').glob('nvidia[0-9]*'))


def missing(side: str, variant: tuple[str, ...] = ()) -> list[str]:
  """What this side needs in this variant, and is not installed."""
  absent = [name for name in NEEDS[side] if importlib.util.find_spec(name) is None]
  compilers = os.environ.get('CXX', 'g++'), 'clang++'
  if has_accelerator():  # for which C is enough
    compilers += os.environ.get('CC', 'gcc'), 'cc', 'clang'
  if 'compile' in variant and not any(map(shutil.which, compilers)):
    absent.append('a C++ compiler, such as g++,')
  return absent
