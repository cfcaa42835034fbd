"""Score detections again, each in a window in which it has the height that the detector knows best.

At the level at which a digit was detected (see `pyramid`), it is 16 to 32 pixels tall. It is scored again in three
windows of its own: scaled to the typical height of the detector's training digits, to a little less, and to a little
more. The detector's confidences in these windows tell digits from other marks better than its confidence at the level,
which changes with the digit's height.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.images.detection import STRIDE, TYPICAL_HEIGHT
from chainrule.images.pyramid import choose_level, crop, normalize_contrast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.images.detection import Detection, Detector
    from chainrule.images.pyramid import Level

# Pixels: above and below a digit of the typical height, 37 remain, fewer than the detector's receptive field has there
WINDOW_SIDE = 96
RELATIVE_HEIGHTS = (0.8, 1.0, 1.25)  # of the digit in its windows, relative to `TYPICAL_HEIGHT`
CENTER_SIDE = 16  # pixels: the side of the square around the window's center in which the digit's center may be
MAX_LOG_ODDS = 6.0  # limit of the absolute value, so that no window decides alone


def rescore(levels: Sequence[Level], detections: Sequence[Detection], detect: Detector) -> NDArray[np.float64]:
    """Return the mean over several windows of the log odds that each detection is a digit, (N,).

    Args:
        levels: the photo at several scales, the finest first.
        detections: the detections, N.
        detect: the detector.
    """
    log_odds = [
        [_score_at(levels, detection, relative_height, detect) for relative_height in RELATIVE_HEIGHTS]
        for detection in detections
    ]
    return np.asarray(np.array(log_odds).reshape(-1, len(RELATIVE_HEIGHTS)).mean(axis=1))


def _score_at(levels: Sequence[Level], detection: Detection, relative_height: float, detect: Detector) -> float:
    """Return the log odds that a detection is a digit, in a window where its height is scaled.

    Its height there is `relative_height` times `TYPICAL_HEIGHT`.
    """
    scale = relative_height * TYPICAL_HEIGHT / max(detection.height, detection.width / 2)
    x, y = (detection.left + detection.right) / 2, (detection.top + detection.bottom) / 2
    reach = WINDOW_SIDE / 2 / scale
    window = crop(choose_level(levels, scale), (x - reach, y - reach, x + reach, y + reach), scale)
    maps = detect(normalize_contrast(np.clip(window, 0, 1)))
    start, stop = (WINDOW_SIDE - CENTER_SIDE) // 2 // STRIDE, (WINDOW_SIDE + CENTER_SIDE) // 2 // STRIDE
    return float(np.clip(maps[0, start:stop, start:stop].max(), -MAX_LOG_ODDS, MAX_LOG_ODDS))
