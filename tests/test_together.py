"""What several processes do in step, seen by one of them among peers that are made up."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen.devices import parallel, processes
from jaxgen.devices.processes import PeerFailed
from jaxgen.errors import UserError
from jaxgen.main import lost


class Peers:
  """Makes this one of three processes, whose peers bring `others` wherever all meet."""

  def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
    self.set, self.met, self.left, self.others = monkeypatch.setattr, [], 0, None
    self.set(jax, 'process_count', lambda: 3)
    self.set(parallel, 'largest', self.largest)
    self.set(jax.distributed, 'is_initialized', lambda: True)
    self.set(jax.distributed, 'shutdown', self.shutdown)
    self.be(1)

  def be(self, here: int) -> None:
    """Makes this process the one of that index."""
    self.set(jax, 'process_index', lambda: here)

  def largest(self, tree: Any) -> Any:
    """The larger of what this process and its peers bring."""
    self.met.append(tree)
    return tree if self.others is None else jax.tree.map(np.maximum, tree, self.others)

  def shutdown(self) -> None:
    """Leaves with all others."""
    self.left += 1


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Peers:
  return Peers(monkeypatch)


def test_all_agree_on_the_largest_number(peers: Peers) -> None:
  peers.others = np.int32(5)
  assert [processes.agree(number) for number in (4, 7)] == [5, 7]
  assert peers.met[0].dtype == np.int32
  peers.set(jax, 'process_count', lambda: 1)
  assert processes.agree(4) == 4
  assert len(peers.met) == 2  # a lone process meets nobody


def test_the_first_of_several_is_not_alone(peers: Peers) -> None:
  peers.be(0)
  assert processes.first()
  assert not processes.alone()
  peers.be(1)
  assert not processes.first()
  peers.set(jax, 'process_count', lambda: 1)
  assert processes.alone()


@pytest.mark.parametrize(
  ('error', 'failing', 'raised', 'words'),
  [
    (None, (), None, ''),
    (UserError('the disk is full'), (), UserError, 'the disk is full'),
    (OSError('the disk is full'), (), OSError, 'the disk is full'),
    (MemoryError('too much'), (), MemoryError, 'too much'),
    (UserError('the disk is full'), (0,), PeerFailed, 'process 0 has failed'),
    (UserError('the disk is full'), (2,), UserError, 'the disk is full'),
    (None, (0,), PeerFailed, 'process 0 has failed'),
    (None, (2,), PeerFailed, 'process 2 has failed'),
    (None, (0, 2), PeerFailed, 'process 0 has failed'),
  ],
)
def test_where_one_fails_all_end_with_the_message_of_the_first(
  error: Exception | None,
  failing: tuple[int, ...],
  raised: type[Exception] | None,
  words: str,
  peers: Peers,
) -> None:
  """Every process says that it failed by a number that is larger the earlier it stands."""
  peers.others = np.int32(max((3 - index for index in failing), default=0))

  def work() -> None:
    with processes.together():
      if error:
        raise error

  if raised is None:
    work()
  else:
    with pytest.raises(raised, match=words):
      work()
  assert peers.left == (raised is not None)
  assert len(peers.met) == 1


def test_a_process_says_by_its_number_that_it_failed(peers: Peers) -> None:
  for here in range(3):
    peers.be(here)
    with pytest.raises(UserError), processes.together():
      raise UserError('the disk is full')
  assert [int(number) for number in peers.met] == [3, 2, 1]
  with processes.together():
    pass
  assert int(peers.met[-1]) == 0


def test_an_error_without_words_is_told_by_its_type(peers: Peers) -> None:
  del peers
  assert 'cannot go on: AssertionError\n' in lost(AssertionError())


@pytest.mark.parametrize('lone', ['process_count', 'is_initialized'])
def test_an_error_of_a_process_without_peers_is_raised_as_it_is(lone: str, peers: Peers) -> None:
  if lone == 'process_count':
    peers.set(jax, 'process_count', lambda: 1)
  else:
    peers.set(jax.distributed, 'is_initialized', lambda: False)
  with pytest.raises(UserError, match='the disk is full'), processes.together():
    raise UserError('the disk is full')
  assert (peers.left, peers.met) == (0, [])


def test_a_bug_is_not_taken_for_a_failure(peers: Peers) -> None:
  with pytest.raises(KeyError), processes.together():
    raise KeyError('a bug')
  assert (peers.left, peers.met) == (0, [])


TREE = {
  'w': np.array([[-1.5, np.nan], [np.inf, -0.0]], np.float32),
  'n': np.int64(-(2**40)),
  'flag': np.array([True, False]),
}


def test_all_get_the_arrays_of_the_first_to_the_bit(peers: Peers) -> None:
  peers.be(0)
  kept = processes.from_first(TREE)
  sent = peers.met[-1]
  peers.be(2)
  peers.others = sent
  got = processes.from_first(jax.tree.map(np.ones_like, TREE))
  for found in (kept, got):
    for name, leaf in TREE.items():
      assert (found[name].dtype, found[name].shape) == (leaf.dtype, leaf.shape)
      assert found[name].tobytes() == leaf.tobytes()
  assert all(not leaf.any() for leaf in peers.met[-1].values())  # it only listens
  peers.set(jax, 'process_count', lambda: 1)
  assert processes.from_first(TREE) is TREE


def test_all_get_the_text_of_the_first(peers: Peers) -> None:
  peers.be(0)
  assert processes.text_from_first('größer') == 'größer'
  length, sent = peers.met
  peers.be(2)
  for brought in ('', 'one that is longer than that of the first'):
    incoming = iter((length, sent))
    peers.set(parallel, 'largest', lambda tree, found=incoming: next(found))
    assert processes.text_from_first(brought) == 'größer'
  peers.set(jax, 'process_count', lambda: 1)
  assert processes.text_from_first('mine') == 'mine'


def test_what_differs_from_the_first_process_is_named(peers: Peers) -> None:
  peers.be(0)
  processes.require_same(config='steps=3', data='mnist')
  peers.others = peers.met[-1]
  peers.be(2)
  processes.require_same(config='steps=3', data='mnist')
  with pytest.raises(UserError, match='process 2 has another config than process 0'):
    processes.require_same(config='steps=4', data='mnist')
  with pytest.raises(UserError, match='process 2 has another data than process 0'):
    processes.require_same(config='steps=3', data='digits')


def test_every_process_needs_as_many_devices(monkeypatch: pytest.MonkeyPatch) -> None:
  def have(*counts: int) -> None:
    devices = [SimpleNamespace(process_index=i) for i, n in enumerate(counts) for _ in range(n)]
    monkeypatch.setattr(jax, 'devices', lambda: devices)

  for counts in ((1,), (2, 2), (4, 4, 4)):
    have(*counts)
    processes.check_devices()
  have(2, 1)
  with pytest.raises(UserError, match=r'devices: process 0 has 2, process 1 has 1$'):
    processes.check_devices()


def test_the_others_write_nothing() -> None:
  mute = processes.Mute()
  assert mute.pictures(3, 'samples', columns=2) is None
  assert (mute.evaluated, list(mute.evaluations)) == (0, [])
