"""Time to quality: who reached what when, and that every contender is there."""

import json
import math
from pathlib import Path

import pytest

from jaxgen import checks, configuration
from jaxgen.devices import parallel
from tests.benchmarks.contender import Contender
from tests.benchmarks.quality import __main__ as quality
from tests.benchmarks.quality import curves, figure, recipes
from tests.benchmarks.quality.curves import Curve, Point, Reached, races, reached


def curve(*distances: float, first: float = 1.0, start: float = 10.0) -> Curve:
  """Marks at `first` seconds and each time twice as many."""
  points = [Point(first * 2**i, 2**i, d, 0.5) for i, d in enumerate(distances)]
  return Curve(points, start, 64, 1000, 'cpu')


def test_between_marks_a_curve_is_a_power_of_time() -> None:
  points = curve(*(100.0 / 2**i for i in range(5))).points  # 100 over the seconds
  assert reached(points, 20.0) == Reached(pytest.approx(5.0), False)
  assert reached(points, 25.0) == Reached(pytest.approx(4.0), False)


def test_what_came_before_the_first_mark_is_a_bound_and_what_never_came_is_nothing() -> None:
  points = curve(100.0, 50.0).points
  assert reached(points, 100.0) == Reached(1.0, True)
  assert reached(points, 49.0) is None


def test_a_race_is_a_ratio_of_times_to_the_peers_last_distance() -> None:
  peer = curve(80.0, 40.0, 20.0, start=3.0)  # at 20 after 4 s
  slow, never = curve(40.0, 20.0, 10.0, start=1.0), curve(90.0, 80.0, 70.0)
  found = races({'jaxgen': slow, 'jaxgen, other': never, 'peer': peer})
  assert [race['jaxgen'] for race in found] == ['jaxgen', 'jaxgen, other']
  assert found[0]['ratio'] == pytest.approx(4 / 2)
  assert found[0]['ratio_with_start'] == pytest.approx((3 + 4) / (1 + 2))
  assert found[1]['ratio'] is None
  assert 'not reached' in curves.races_text(found, 4.0)


def test_a_peer_that_stands_still_took_only_the_time_until_it_stood() -> None:
  peer, own = curve(80.0, 40.0, 30.0, 40.0), curve(80.0, 60.0, 40.0, 10.0)
  (race,) = races({'jaxgen': own, 'peer': peer})
  assert (race['peer_seconds'], race['seconds']) == (pytest.approx(2.0), pytest.approx(4.0))


@pytest.mark.parametrize('accelerator', [False, True])
@pytest.mark.parametrize('family', recipes.FAMILIES)
def test_every_family_has_peers_and_valid_recipes(family: str, accelerator: bool) -> None:
  for data in recipes.WHERE:
    found = recipes.contenders(family, data, '/somewhere', accelerator)
    assert {one.side == 'jaxgen' for one in found.values()} == {True, False}
    for label, contender in found.items():
      assert Contender.loads(contender.dumps()) == contender
      assert label.startswith('jaxgen') == (contender.side == 'jaxgen')
      config = configuration.load(contender.source, None, contender.overrides)
      checks.check_division(config, 1 if accelerator else parallel.cpu_devices(config))
      assert config.data.path == '/somewhere'
      if contender.side == 'jaxgen':
        assert config.optimizer.schedule == 'constant'


def test_minutes_are_of_all_families_or_of_each() -> None:
  def budgets(*arguments: str) -> dict[str, float]:
    return quality.budgets(quality.parser().parse_args(arguments))

  assert budgets('--only=gan,vae', '--minutes=2') == {'gan': 120.0, 'vae': 120.0}
  assert budgets('--only=gan,vae', '--minutes=2,0.5') == {'gan': 120.0, 'vae': 30.0}
  with pytest.raises(ValueError, match='minutes=1,2,3'):
    budgets('--only=gan,vae', '--minutes=1,2,3')
  with pytest.raises(ValueError, match='gans'):
    budgets('--only=gans')


def test_curves_become_a_table_and_a_small_figure(tmp_path: Path) -> None:
  known = {'jaxgen': curve(40.0, 20.0), 'peer': curve(80.0, 40.0)}
  text = curves.curves_text('vae', known, {'other': 'torch not installed'}, 7.5)
  head, rule, *rows, note = text.splitlines()
  assert {line.count('|') for line in (head, rule, *rows)} == {head.count('|')}
  assert rows[-1].endswith('| 7.5 |')
  assert note == 'other: torch not installed'
  path = tmp_path / 'figure.png'
  row = {
    'real': 7.5,
    'seconds': 60.0,
    'curves': {label: one.to_json() for label, one in known.items()},
  }
  figure.draw([row | {'family': name} for name in recipes.FAMILIES], path)
  assert path.stat().st_size < 150_000


@pytest.mark.slow
def test_a_family_is_trained_scored_and_drawn(tmp_path: Path) -> None:
  output = tmp_path / 'quality.json'
  assert quality.main(['--smoke', '--only=vae', f'--output={output}']) == 0
  (row,) = json.loads(output.read_text())['families']
  ours = row['curves']['jaxgen, VAE']['points']
  assert len(ours) == len(quality.MARKS)
  seconds = [point['seconds'] for point in ours]
  assert seconds == sorted(seconds)
  assert ours[-1]['distance'] < ours[0]['distance']
  assert math.isfinite(row['real'])
  assert row['protocol'].startswith('fid_classifier:')
  assert {*row['curves'], *row['absent']} == {*recipes.contenders('vae', 'digits')}
  assert output.with_suffix('.png').exists()
