"""Times that samplers visit."""

import numpy as np
import pytest

from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.path import Path
from tests.objectives.test_path import PATHS


def test_karras_grid() -> None:
  """18 steps from 80 to 0.002 (Karras et al. 2022, eq. 5): ends, and the paper's middle."""
  times = GRIDS['karras'](PATHS['edm'], 18, 0.002, 80.0, 7.0)
  np.testing.assert_allclose(times[[0, -1]], [80.0, 0.002])
  np.testing.assert_allclose(np.diff(times ** (1 / 7), n=2), 0.0, atol=1e-12)
  assert times[1] == pytest.approx(57.586, rel=1e-4)


@pytest.mark.parametrize('path', PATHS.values(), ids=PATHS)
def test_grids_are_even_in_their_own_measure(path: Path) -> None:
  for name, measure in {'log_snr': path.log_snr, 'time': lambda t: t}.items():
    times = GRIDS[name](path, 9, 0.02, 30.0)
    assert times.dtype == np.float64
    np.testing.assert_allclose(path.sigma(times[[0, -1]]), [30.0, 0.02], rtol=1e-9)
    steps = np.diff(measure(times))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
