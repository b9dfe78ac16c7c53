"""Every claim of experiments/theory at its small size, and what makes a table of them."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import UserError
from jaxgen.theory import claims, estimates
from jaxgen.theory.__main__ import main
from jaxgen.theory.claims import Claim, Finding, Row, Sketch
from jaxgen.theory.mixtures import PAIR, TRIPLE, denoise, log_density
from jaxgen.theory.page import heading, markdown, number, page

FOLDER = Path(__file__).parent.parent / 'experiments' / 'theory'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
DEAR = (
  'em_monotone',
  'kantorovich_rubinstein',
  'linear_vae',
  'score_matching',
  'score_rate',
)  # to compile


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=pytest.mark.slow) if n in DEAR else n for n in NAMES]
)
def test_claim_holds(name: str) -> None:
  found = claims.find(name)
  wrong = [row for row in found.claim.rows if not row.agrees]
  assert not wrong
  assert len(found.claim.rows) >= 4
  assert re.search(r'\b(19|20)\d\d\b', ' '.join(found.statement)), 'no source'
  assert found.claim.sketch is not None
  assert found.claim.sketch.measured


def test_every_file_is_a_claim() -> None:
  assert claims.names() == NAMES


@pytest.mark.parametrize(
  ('row', 'agrees'),
  [
    (Row('', 1.0, 1.0), True),
    (Row('', 1.0, 1.0 + 1e-9), False),
    (Row('', 1.0, 1.39, error=0.1), True),
    (Row('', 1.0, 1.41, error=0.1), False),
    (Row('', 1.0, 0.59, error=0.1), False),
    (Row('', 1.0, 1.45, error=0.1, tolerance=0.06), True),
    (Row('', 1.0, 0.2, relation='≤'), True),
    (Row('', 1.0, 1.2, relation='≤'), False),
    (Row('', 1.0, 1.2, error=0.06, relation='≤'), True),
    (Row('', 1.0, 0.2, relation='≥'), False),
    (Row('', 1.0, 0.8, error=0.06, relation='≥'), True),
    (Row('', 1.0, 1.2, relation='≥'), True),
    (Row('', 1.0, np.nan, tolerance=9.0), False),
    (Row('', 1.0, np.nan, tolerance=9.0, relation='≤'), False),
    (Row('', np.nan, 1.0, tolerance=9.0), False),
  ],
)
def test_when_a_row_agrees(row: Row, agrees: bool) -> None:
  assert row.agrees == agrees


def test_a_wrong_project_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
  """A hundredth too much of V, and a sampler's noise that a twentieth of is missing."""
  from experiments.theory import sampler_orders, value_is_js

  right = value_is_js.value
  monkeypatch.setattr(value_is_js, 'value', lambda r, g: 1.01 * right(r, g))
  assert not claims.find('value_is_js').agrees
  exact = sampler_orders.gain
  monkeypatch.setattr(sampler_orders, 'gain', lambda path, t: 0.99 * exact(path, t))
  assert not claims.find('sampler_orders').agrees


def test_errors_are_those_of_repetitions() -> None:
  draws = np.random.default_rng(0).exponential(size=(4000, 50))
  for estimate, value in ((estimates.mean, 1.0), (estimates.variance, 1.0)):
    found = np.array([estimate(line) for line in draws])
    assert found[:, 0].mean() == pytest.approx(value, abs=0.03)
    assert np.mean(found[:, 1] ** 2) == pytest.approx(found[:, 0].var(), rel=0.15)
  assert estimates.mean(np.full(9, 0.1)).error == 0.0


def test_slope_is_that_of_a_regression() -> None:
  generator = np.random.default_rng(0)
  x = np.array([1.0, 2.0, 5.0, 9.0, 20.0])
  y = x**-0.7 * np.exp(0.1 * generator.normal(size=5))
  known = stats.linregress(np.log(x), np.log(y))
  assert estimates.slope(x, y) == pytest.approx((known.slope, known.stderr))
  many = x[None] ** -0.7 * np.exp(0.1 * generator.normal(size=(400, 5)))
  given = estimates.slope(x, many[0], 0.1 * many[0])
  assert given.value == estimates.slope(x, many[0]).value
  assert given.error == pytest.approx(0.1 / np.log(x).std() / np.sqrt(5))
  value, error = estimates.mean_slope(x, many)
  assert value == pytest.approx(-0.7, abs=4 * error)
  assert error == pytest.approx(0.1 / np.log(x).std() / np.sqrt(5 * 400), rel=0.15)


def test_mixture_is_a_distribution() -> None:
  """Its density by scipy, the integral of that, and draws agree; its denoiser keeps the mean."""
  x = np.linspace(-3.0, 3.0, 2001)
  noisy = PAIR.noised(0.8, 0.3)
  parts = stats.norm.pdf(x[:, None], noisy.means[:, 0], noisy.deviations) @ noisy.weights
  with jax.enable_x64(True):
    logs = jax.jit(jax.vmap(lambda x: log_density(PAIR, 0.8, 0.3, x)))(x[:, None])
    np.testing.assert_allclose(np.exp(logs), parts, rtol=1e-10)
    draws = TRIPLE.draw(200_000, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(size=draws.shape)
    shown = jax.jit(jax.vmap(lambda x: denoise(TRIPLE, 0.8, 0.5, x)))(0.8 * draws + 0.5 * noise)
  np.testing.assert_allclose(np.gradient(noisy.cdf(x), x)[1:-1], parts[1:-1], atol=1e-4)
  for power in (1, 2, 3):
    assert noisy.moment(power) == pytest.approx(np.trapezoid(x**power * parts, x), abs=1e-6)
  np.testing.assert_allclose(np.asarray(shown).mean(0), TRIPLE.weights @ TRIPLE.means, atol=0.01)


FINDING = Finding(
  'mine',
  'A title',
  ['What is claimed (Somebody 2020).'],
  Claim(
    [Row('a | b', 0.5, 0.512345, 0.0123), Row('c', 1.0, 2.0, 0.0, 0.5, 'far off', '≤')],
    Sketch('x', 'y', {'line': ([1, 2], [1, 2])}, {'line': ([1, 2], [1.1, 1.9])}, 'xy'),
  ),
)


def test_tables_say_what_was_found() -> None:
  text = markdown([FINDING])
  assert '| a \\| b | 0.5 | 0.512 ± 0.012 | yes |' in text
  assert '| c | ≤ 1 (± 0.5) | 2 | **no**; far off |' in text
  assert '1 of 2 rows of 1 claims agree' in heading([FINDING])
  html = page([FINDING])
  assert 'A title' in html
  assert 'far off' in html
  assert 'data:image/svg+xml' in html
  assert not re.search(r'(src|href|srcset)="(?!data:)', html)


@pytest.mark.parametrize(
  ('value', 'error', 'text'),
  [
    (1.23456789, 0.0, '1.23457'),
    (1.23456, 0.0123, '1.235 ± 0.012'),
    (4898.5, 35.0, '4898 ± 35'),
    (1e-9, 1e-10, '1e-09 ± 1e-10'),
    (float('nan'), 0.1, 'nan'),
  ],
)
def test_numbers_have_two_digits_of_their_error(value: float, error: float, text: str) -> None:
  assert number(value, error) == text


MINE = '''"""Half is half

So it is said (Somebody 2020).
"""

from jaxgen.theory.claims import Claim, Row


def claim(full: bool) -> Claim:
  return Claim([Row('half', 0.5, {measured})])
'''


@pytest.mark.parametrize(('measured', 'code'), [('0.5', 0), ('0.75 if full else 0.25', 1)])
def test_adding_a_file_adds_a_claim(
  tmp_path: Path,
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture,
  measured: str,
  code: int,
) -> None:
  """Beside those that are there; and where it disagrees the command fails."""
  name = f'mine_{code}'
  path = tmp_path / 'experiments' / 'theory' / f'{name}.py'
  path.parent.mkdir(parents=True)
  path.write_text(MINE.format(measured=measured))
  monkeypatch.syspath_prepend(tmp_path)
  output = tmp_path / 'table.md'
  assert main([name, '--full', f'--output={output}', f'--output={tmp_path}/page.html']) == code
  assert '## Half is half' in capsys.readouterr().out
  assert '| half | 0.5 | 0' in output.read_text()
  assert 'So it is said' in (tmp_path / 'page.html').read_text()
  assert name in claims.names()


def test_a_claim_that_there_is_not(capsys: pytest.CaptureFixture) -> None:
  assert main(['tweedy']) == 2
  assert "Unknown theory 'tweedy'. Did you mean 'tweedie'" in capsys.readouterr().err
  with pytest.raises(UserError):
    claims.find('tweedy')


def test_a_folder_without_claims(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
  monkeypatch.setattr(claims, 'PACKAGE', 'elsewhere.theory')
  assert main([]) == 2
  assert 'no folder elsewhere/theory: start Python where it lies' in capsys.readouterr().err
