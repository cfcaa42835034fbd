"""Pictures read at other places than their pixels': moved, turned and bent ones.

The order of the loops: pictures (shared out among threads), then the result's pixels. Each pixel reads four neighbours
from anywhere in its picture, which lies in the first cache as a whole; arithmetic is the limit, some 6 ns a pixel.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.kernels.compile import inner


@inner
def _warp(images: Any, maps: Any, field: Any, out: Any, begin: int, end: int) -> None:
    _, height, width = images.shape
    for n in range(begin, end):
        for i in range(height):
            for j in range(width):
                y = maps[n, 0, 0] * i + maps[n, 0, 1] * j + maps[n, 0, 2] + field[n, 0, i, j]
                x = maps[n, 1, 0] * i + maps[n, 1, 1] * j + maps[n, 1, 2] + field[n, 1, i, j]
                value = 0.0
                if -1 < y < height and -1 < x < width:
                    top, left = math.floor(y), math.floor(x)
                    down, right = y - top, x - left
                    if top >= 0:
                        if left >= 0:
                            value += (1 - down) * (1 - right) * images[n, top, left]
                        if left + 1 < width:
                            value += (1 - down) * right * images[n, top, left + 1]
                    if top + 1 < height:
                        if left >= 0:
                            value += down * (1 - right) * images[n, top + 1, left]
                        if left + 1 < width:
                            value += down * right * images[n, top + 1, left + 1]
                out[n, i, j] = value
