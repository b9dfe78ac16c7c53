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
# Rooms, each on a floor: what it imports lies on a lower one, or in the room itself.
FLOORS = (
  ('errors', 'commands', 'fields', 'progress', 'version'),
  ('images', 'labels', 'layers', 'metrics'),
  ('safetensors', 'diffusers_checkpoint'),
  ('export',),
  ('networks', 'features', 'datasets'),
  ('objectives',),
  ('migration', 'checks'),
  ('configuration',),
  ('devices',),
  ('evaluation',),
  ('training',),
  ('model', 'report', 'classifiers'),
  ('inference', 'theory', 'latents', 'diffusers'),
  ('main',),
  ('study',),
)
FLOOR = {f'jaxgen.{room}': floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> set[str]:
  """Modules of jaxgen that a file imports, anywhere in it."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      inner = {f'{node.module}.{alias.name}' for alias in node.names}
      names |= {name if name in MODULES else node.module for name in inner}
  return {name for name in names if name in MODULES}


def room_of(name: str) -> str:
  """jaxgen.objectives.diffusion.ddpm -> jaxgen.objectives"""
  return '.'.join(name.split('.')[:2])


GRAPH = {name: imports(path) - {name} for name, path in MODULES.items()}


def test_no_import_cycle() -> None:
  """Neither among modules nor among rooms, imports inside functions counted."""
  list(graphlib.TopologicalSorter(GRAPH).static_order())


def test_every_room_has_its_floor() -> None:
  assert {room_of(name) for name in MODULES} - {'jaxgen'} == set(FLOOR)


@pytest.mark.parametrize('room', FLOOR)
def test_rooms_import_nothing_upward(room: str) -> None:
  for name, imported in GRAPH.items():
    if room_of(name) == room:
      upward = {
        other
        for other in imported
        if room_of(other) != room and FLOOR[room_of(other)] >= FLOOR[room]
      }
      assert not upward, f'{name} imports {upward}'


def test_families_of_objectives_know_nothing_of_each_other() -> None:
  for name, imported in GRAPH.items():
    family = name.split('.')[2:-1][:1]
    for other in imported if room_of(name) == 'jaxgen.objectives' else ():
      theirs = other.split('.')[2:-1][:1] if room_of(other) == 'jaxgen.objectives' else []
      assert theirs in ([], family), f'{name} imports {other}'


@pytest.mark.parametrize(
  ('upper', 'lower'),
  list(
    pairwise(
      ('main', 'training.loop', 'evaluation.held_out', 'devices.parallel', 'objectives.base')
    )
  ),
)
def test_the_chain_from_main_to_objective(upper: str, lower: str) -> None:
  assert f'jaxgen.{lower}' in GRAPH[f'jaxgen.{upper}']


@pytest.mark.slow
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
