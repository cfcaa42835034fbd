"""A detector that runs in bands gives the maps of a run at once."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from chainrule.models import load_detector

digit_detector = sys.modules[load_detector.__module__]  # the package has a function of this name


@pytest.mark.parametrize("height", [8, 96, 200, 264, 328, 400])
def test_bands_give_the_same_maps(monkeypatch, height):
    """Noise shows any position that a band does not see; the bands are 64 rows, the picture has a rest."""
    contrast = np.random.default_rng(height).normal(0, 1.5, (height, 136)).astype(np.float32)
    detect = load_detector()
    monkeypatch.setattr(digit_detector, "BAND_ROWS", 10_000)
    at_once = detect(contrast)
    monkeypatch.setattr(digit_detector, "BAND_ROWS", 64)
    in_bands = detect(contrast)
    assert in_bands.shape == at_once.shape == (15, height // 4, 34)
    np.testing.assert_allclose(in_bands, at_once, rtol=0, atol=2e-5 * np.abs(at_once).max())


@pytest.mark.parametrize(("part", "seen"), [("FINE_REACH", 8), ("COARSE_REACH", 40), ("MERGED_REACH", 0)])
def test_what_a_band_must_see(monkeypatch, part, seen):
    """With less around it, a band of each part differs: the test above can fail."""
    contrast = np.random.default_rng(0).normal(0, 1.5, (200, 136)).astype(np.float32)
    detect = load_detector()
    at_once = detect(contrast)
    monkeypatch.setattr(digit_detector, "BAND_ROWS", 64)
    monkeypatch.setattr(digit_detector, part, seen)
    assert np.abs(detect(contrast) - at_once).max() > 1e-2
