"""Inception score and class balance: closed forms, and the classes that are not there."""

import json

import numpy as np
import pytest
import scipy.stats

from jaxgen.metrics.balance import class_balance, class_frechet
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.inception_score import inception_score


def certain(labels: np.ndarray, classes: int) -> np.ndarray:
  return np.eye(classes, dtype=np.float32)[labels]


def test_score_is_the_number_of_classes_at_best_and_one_at_worst() -> None:
  balanced = certain(np.repeat(np.arange(10), 30), 10)
  assert inception_score(balanced, splits=1).mean == pytest.approx(10.0)
  assert inception_score(np.full((300, 10), 0.1)).mean == pytest.approx(1.0)
  assert inception_score(certain(np.full(300, 3), 10)) == pytest.approx((1.0, 0.0))


def test_score_agrees_with_entropies() -> None:
  """E KL(p(y|x) || p(y)) = H(y) - H(y|x)."""
  probabilities = np.random.default_rng(0).dirichlet(np.full(5, 0.4), 200)
  marginal = scipy.stats.entropy(probabilities.mean(axis=0))
  conditional = scipy.stats.entropy(probabilities, axis=1).mean()
  score = inception_score(probabilities, splits=1)
  assert score.mean == pytest.approx(np.exp(marginal - conditional), rel=1e-9)


def test_balanced_classes_have_full_entropy_and_no_divergence() -> None:
  balance = class_balance(certain(np.repeat(np.arange(4), 25), 4), np.full(4, 7))
  assert balance.histogram.tolist() == [25] * 4
  assert balance.entropy_nats == pytest.approx(np.log(4.0))
  assert balance.kl_nats == pytest.approx(0.0)
  assert balance.missing == ()
  assert balance.unclaimed == 0.0


def test_entropy_and_divergence_agree_with_scipy() -> None:
  labels = np.array([0] * 10 + [1] * 60 + [2] * 30)
  balance = class_balance(certain(labels, 3), np.array([50, 30, 20]))
  assert balance.entropy_nats == pytest.approx(scipy.stats.entropy([10, 60, 30]))
  assert balance.kl_nats == pytest.approx(scipy.stats.entropy([10, 60, 30], [50, 30, 20]))


def test_missing_counts_by_share_and_unclaimed_by_certainty() -> None:
  labels = np.array([0] * 595 + [1] * 400 + [2] * 5)
  sure = 0.9 * certain(labels, 4) + 0.025
  sure[:50] = [0.4, 0.3, 0.2, 0.1]
  balance = class_balance(sure, np.full(4, 1000))
  assert balance.missing == (2, 3)
  assert json.dumps(balance.missing) == '[2, 3]'  # as files have it
  assert balance.unclaimed == pytest.approx(0.05)
  collapsed = class_balance(certain(np.zeros(10, int), 4), np.full(4, 1))
  assert (collapsed.missing, collapsed.entropy_nats) == ((1, 2, 3), 0.0)
  assert collapsed.kl_nats == pytest.approx(np.log(4.0))


def test_per_class_distance_finds_the_spoiled_class() -> None:
  generator = np.random.default_rng(0)
  real, labels = generator.normal(size=(900, 4)), np.repeat(np.arange(3), 300)
  generated = generator.normal(size=(900, 4))
  generated[labels == 1] += 3.0
  result = class_frechet(real, labels, generated, labels, 3)
  assert result.reasons == {}
  assert result.distances[1] == pytest.approx(36.0, rel=0.1)
  assert max(result.distances[0], result.distances[2]) < 0.2
  within = (moments(f[labels == 2]) for f in (real, generated))
  assert result.distances[2] == frechet_distance(*within)


def test_classes_with_too_few_images_have_a_reason() -> None:
  generator = np.random.default_rng(0)
  features, labels = generator.normal(size=(60, 4)), np.repeat(np.arange(3), 20)
  generated_labels = np.where(labels == 1, 0, labels)
  generated_labels[-17:] = 0
  result = class_frechet(features, labels, features, generated_labels, 4)
  assert set(result.distances) == {0}
  assert 'No generated image of class 1' in result.reasons[1]
  assert 'generated class 2: 3 images' in result.reasons[2]
  assert 'at least 5 are needed' in result.reasons[2]
  assert 'No real image of class 3' in result.reasons[3]


def test_score_knows_each_split_by_its_own_classes() -> None:
  """One image a split: it is its own marginal, though all of them together show every class."""
  assert inception_score(np.eye(10), splits=10) == pytest.approx((1.0, 0.0))


def test_chance_adds_to_the_divergence_what_is_taken_off() -> None:
  """Classes drawn as the data's: 2N KL is chi-squared with K - 1 degrees of freedom."""
  generator, shares = np.random.default_rng(0), np.array([10, 20, 30, 40, 20, 30])
  draw = [
    class_balance(certain(generator.choice(6, 200, p=shares / shares.sum()), 6), shares)
    for _ in range(400)
  ]
  plain, corrected = np.array([(b.kl_nats, b.kl_corrected_nats) for b in draw]).T
  assert plain.mean() == pytest.approx(5 / 400, rel=0.1)
  assert abs(corrected.mean()) < 0.1 * 5 / 400
  claimed = np.sqrt(np.mean([b.kl_standard_error**2 for b in draw]))
  assert 0.9 < claimed / plain.std() < 1.6  # too large rather than too small at zero
  far = [
    class_balance(certain(generator.choice(3, 200, p=[0.7, 0.2, 0.1]), 3), np.ones(3))
    for _ in range(400)
  ]
  claimed = np.sqrt(np.mean([b.kl_standard_error**2 for b in far]))
  assert claimed == pytest.approx(np.std([b.kl_nats for b in far]), rel=0.15)


def test_only_classes_that_were_made_are_taken_off() -> None:
  collapsed = class_balance(certain(np.zeros(50, int), 4), np.ones(4))
  assert collapsed.kl_corrected_nats == collapsed.kl_nats == pytest.approx(np.log(4.0))


def test_bad_input_is_refused() -> None:
  good = certain(np.arange(3), 3)
  with pytest.raises(ValueError, match='not logits'):
    class_balance(np.array([[3.0, -2.0]]), np.ones(2))
  with pytest.raises(ValueError, match='not logits'):
    inception_score(np.array([[0.5, 0.2]]))
  with pytest.raises(ValueError, match='not finite'):
    inception_score(good * np.nan)
  with pytest.raises(ValueError, match='at least one image for each of the 3'):
    class_balance(good, np.array([1, 0, 2]))
  with pytest.raises(ValueError, match='at least one image for each of the 3'):
    class_balance(good, np.ones(4))
  with pytest.raises(ValueError, match='claim is 0'):
    class_balance(good, np.ones(3), claim=0.0)
  with pytest.raises(ValueError, match='do not make 10 splits'):
    inception_score(good)
  with pytest.raises(ValueError, match='range from 0 to 2'):
    class_frechet(good, np.arange(3), good, np.arange(3), 2)
  with pytest.raises(ValueError, match='real labels are float64'):
    class_frechet(good, np.ones(3), good, np.arange(3), 3)


def test_the_divergence_of_equal_shares_has_the_error_of_chance() -> None:
  """Where shares are the data's own, 2N KL is chi-squared with K - 1 degrees of freedom, whose
  deviation is sqrt(2 (K - 1)).
  """
  found = class_balance(certain(np.arange(40) % 4, 4), np.full(4, 25))
  assert found.kl_nats == pytest.approx(0.0, abs=1e-12)
  assert found.kl_standard_error == pytest.approx(np.sqrt(2.0 * 3) / (2 * 40))


def test_the_scores_parts_are_shuffled_by_seed_zero_unless_another_is_named() -> None:
  probabilities = np.random.default_rng(0).dirichlet(np.full(5, 0.4), 60)
  assert inception_score(probabilities) == inception_score(probabilities, seed=0)
  assert inception_score(probabilities) != inception_score(probabilities, seed=1)
