"""Sums of a step's files, and what is damaged by them."""

from pathlib import Path
from typing import Any

import pytest

from jaxgen.training import sums
from jaxgen.training.checkpoint import Checkpoints
from tests.test_checkpoint import state


def test_sums_are_those_of_every_file_that_can_be_seen(tmp_path: Path) -> None:
  (tmp_path / 'd').mkdir()
  for name in ('d/b', 'z', 'c', 'a', '.hidden', sums.SUMS):
    (tmp_path / name).write_bytes(b'abc')
  abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'  # FIPS 180-2, B.1
  assert list(sums.digests(tmp_path).items()) == [(n, abc) for n in ('a', 'c', 'd/b', 'z')]


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda step: (step / 'more').write_text('x'), 'more is not in SHA256SUMS'),
    (lambda step: (step / '_METADATA').unlink(), '_METADATA is missing'),
    (lambda step: (step / '_METADATA').write_text('x'), '_METADATA is not as it was written'),
    (lambda step: (step / 'SHA256SUMS').unlink(), 'SHA256SUMS is missing'),
    (lambda step: (step / 'SHA256SUMS').write_text(''), 'SHA256SUMS is empty'),
    (lambda step: (step / 'SHA256SUMS').write_bytes(b'\xff'), 'its sums cannot be read: '),
    (lambda step: (step / '.hidden').write_text('x'), None),
  ],
)
def test_damage_is_told_by_the_file(change: Any, words: str | None, tmp_path: Path) -> None:
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, state(1))
  change(tmp_path / '1')
  found = sums.damage(tmp_path / '1')
  assert found is None if words is None else found.startswith(words)


def test_of_many_damages_the_first_is_told(tmp_path: Path) -> None:
  names = [f'file{i:02}' for i in range(30)]
  (tmp_path / sums.SUMS).write_text(''.join(f'0  {name}\n' for name in names))
  assert sums.damage(tmp_path) == 'file00 is missing'
