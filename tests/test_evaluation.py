"""What is said and kept of samples on their way."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration
from jaxgen.datasets.splits import Split
from jaxgen.errors import UserError
from jaxgen.evaluation import held_out
from tests import toy

VAE = Path(__file__).parent.parent / 'experiments/vae.py'


def chunks(count: int, size: int) -> list[np.ndarray]:
  return [np.arange(i, i + size) for i in range(0, count, size)]


@pytest.mark.parametrize(('wanted', 'sizes'), [(0, []), (4, [4]), (10, [10]), (25, [10, 10, 5])])
def test_the_first_are_kept_as_they_pass(wanted: int, sizes: list[int]) -> None:
  kept: list[np.ndarray] = []
  passed = list(held_out.first(chunks(40, 10), wanted, kept))
  assert len(passed) == 4
  assert list(map(len, kept)) == sizes
  np.testing.assert_array_equal(np.concatenate([[], *kept]), np.arange(wanted))


def test_a_mean_that_is_not_finite_is_no_number() -> None:
  model = toy.halfway()._replace(evaluate=lambda params, example, key: {'nats': params['w']})
  config = configuration.execute(str(VAE))
  config.evaluation.batch_size = 4
  measure = held_out.Evaluation(model, config, ()).measure
  images = Split(np.zeros((5, *toy.SHAPE), np.uint8))
  assert measure({'w': jnp.float32(2.5)}, images) == {'nats': 2.5}
  with pytest.raises(UserError, match='nats is nan in evaluation'):
    measure({'w': jnp.float32(np.nan)}, images)
