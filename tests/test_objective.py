"""Building an objective: a config that does not fit is the user's fault, all else is shown."""

from pathlib import Path

import ml_collections
import pytest

from jaxgen import configuration, objective
from jaxgen.errors import UserError
from jaxgen.objectives import vae

VAE = Path(__file__).parent.parent / 'experiments/vae.py'
SHAPE = (8, 8, 1)


def config() -> ml_collections.ConfigDict:
  return configuration.execute(str(VAE))


def test_an_authors_own_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
  def faulty(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> None:
    return len(3)

  monkeypatch.setattr(vae, 'build', faulty)
  with pytest.raises(TypeError, match="object of type 'int' has no len"):
    objective.build(config(), SHAPE)


@pytest.mark.parametrize('section', ['objective', 'network', 'optimizer'])
def test_a_field_that_nothing_takes_is_named(section: str) -> None:
  fields = config()
  fields[section].momentun = 0.9
  with pytest.raises(UserError, match=r"objective 'vae' cannot be built .* 'momentun'"):
    objective.build(fields, SHAPE)


def test_a_field_that_is_missing_is_named() -> None:
  fields = config()
  del fields.optimizer.learning_rate
  with pytest.raises(UserError, match=r"cannot be built .* 'learning_rate'"):
    objective.build(fields, SHAPE)
