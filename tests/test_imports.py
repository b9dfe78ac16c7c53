"""Imports go one way, and heavy libraries only where they are needed."""

import ast
import graphlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
  '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
  for path in (ROOT / 'jaxgen').rglob('*.py')
}
BASE = {'jaxgen', 'jaxgen.errors'}  # the version, and the exception for bad input

# What the modules of a room may import of jaxgen, besides their own room and the base.
ALLOWED = {
  'jaxgen.layers': set(),
  'jaxgen.networks': {'jaxgen.layers'},
  'jaxgen.metrics': set(),
  'jaxgen.images': set(),
  'jaxgen.optimizers': set(),
  'jaxgen.diffusion': set(),
  'jaxgen.objective': set(),
  'jaxgen.objectives': {
    'jaxgen.objective',
    'jaxgen.adversarial',
    'jaxgen.diffusion',
    'jaxgen.networks',
    'jaxgen.optimizers',
  },
}


def imports(path: Path, lazy: bool) -> set[str]:
  """Modules of jaxgen that a file imports; those inside functions only if `lazy`."""
  tree = ast.parse(path.read_text())
  names = set()
  for node in ast.walk(tree) if lazy else tree.body:
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      inner = {f'{node.module}.{alias.name}' for alias in node.names}
      names |= {name if name in MODULES else node.module for name in inner}
  return {name for name in names if name in MODULES}


def test_no_import_cycle() -> None:
  graph = {name: imports(path, lazy=False) - {name} for name, path in MODULES.items()}
  order = list(graphlib.TopologicalSorter(graph).static_order())
  chain = ('objective', 'parallel', 'evaluation', 'train')
  assert [name for name in order if name.removeprefix('jaxgen.') in chain] == [
    f'jaxgen.{name}' for name in chain
  ]


def test_the_chain_from_main_to_objective() -> None:
  chain = [f'jaxgen.{n}' for n in ('main', 'train', 'evaluation', 'parallel', 'objective')]
  for upper, lower in pairwise(chain):
    assert lower in imports(MODULES[upper], lazy=True), f'{upper} does not import {lower}'
    assert upper not in imports(MODULES[lower], lazy=True), f'{lower} imports {upper}'


@pytest.mark.parametrize('room', ALLOWED)
def test_rooms_import_nothing_upward(room: str) -> None:
  inside = [name for name in MODULES if name == room or name.startswith(f'{room}.')]
  for name in inside:
    for imported in imports(MODULES[name], lazy=True) - BASE:
      allowed = any(
        imported == other or imported.startswith(f'{other}.') for other in {room, *ALLOWED[room]}
      )
      assert allowed, f'{name} imports {imported}'


def test_training_on_digits_needs_no_tensorflow(tmp_path: Path) -> None:
  program = f"""
import sys
from jaxgen.main import main
small = ['num_steps=2', 'steps_per_call=1', 'network.hidden=(8,)', 'batch_size=16']
assert main(['--config={ROOT}/experiments/vae.py', '--workdir={tmp_path}/run',
  *('--config.' + field for field in small)]) == 0
heavy = {{name.partition('.')[0] for name in sys.modules}} & {{'tensorflow', 'tensorflow_datasets'}}
assert not heavy, heavy
"""
  finished = subprocess.run(
    [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert finished.returncode == 0, finished.stderr
  assert 'Finished: step 2 of 2' in finished.stdout
