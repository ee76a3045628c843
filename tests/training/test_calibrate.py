import numpy as np
import pytest

from training import calibrate
from training.calibrate import Calibrator

EXPOSED = np.tile(np.arange(3), (8000, 1))
POSITIONS = np.tile(np.arange(1, 4), (8000, 1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def shown(a, b, offsets=(0.0, -1.0, -2.0), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((8000, 3)).astype(np.float32) * 2
    clicks = (rng.random(logits.shape) < sigmoid(a * logits + b + np.array(offsets))).astype(np.float32)
    return logits, clicks


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.4, -2.0), (2.0, 1.0)])
def test_the_true_slope_and_intercept_at_position_1_are_found(a, b):
    logits, clicks = shown(a, b)
    found = calibrate.fit(logits, EXPOSED, POSITIONS, clicks)
    assert (found.a, found.b) == (pytest.approx(a, abs=0.12), pytest.approx(b, abs=0.12))


def test_calibration_never_turns_the_order_around():
    logits, clicks = shown(-1.0, 0.0)
    assert calibrate.fit(logits, EXPOSED, POSITIONS, clicks).a > 0


def test_a_log_without_clicks_gives_small_finite_probabilities():
    logits = np.zeros((50, 3), np.float32)
    found = calibrate.fit(logits, EXPOSED[:50], POSITIONS[:50], np.zeros((50, 3), np.float32))
    assert 0 <= found.probability(logits).max() < 0.01


def test_unseen_slots_are_left_out():
    logits, clicks = shown(1.0, 0.0)
    hidden = np.where(np.arange(8000)[:, None] % 2, EXPOSED, -1)
    odd = slice(1, None, 2)
    half = calibrate.fit(logits[odd], EXPOSED[odd], POSITIONS[odd], clicks[odd])
    assert calibrate.fit(logits, hidden, POSITIONS, clicks).a == pytest.approx(half.a)


def test_nothing_shown_is_refused():
    with pytest.raises(ValueError, match="no shown prompt"):
        calibrate.fit(np.zeros((1, 3), np.float32), -np.ones((1, 3), np.int64), POSITIONS[:1], np.zeros((1, 3)))


def test_a_calibrator_survives_saving(tmp_path):
    Calibrator(0.5, -1.25).save(tmp_path / "calibrator.json")
    assert Calibrator.load(tmp_path / "calibrator.json") == Calibrator(0.5, -1.25)
