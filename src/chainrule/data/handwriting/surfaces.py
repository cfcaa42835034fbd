"""Surfaces: desks, cloth and stone behind a sheet, and reflections on a board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.sheet import grain, smooth_noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.data.handwriting.sheet import Colors

WOOD = ((0.55, 0.38, 0.24), (0.72, 0.56, 0.38), (0.36, 0.23, 0.15), (0.80, 0.70, 0.56), (0.45, 0.42, 0.40))


def desk(generator: np.random.Generator, shape: tuple[int, int]) -> Colors:
    """Return a background (height, width, 3): wood, cloth, stone or plain, sometimes with an edge to a second one."""
    materials: list[Callable[[np.random.Generator, tuple[int, int]], Colors]] = [_wood, _cloth, _stone, _plain]
    scene = materials[generator.choice(4, p=[0.35, 0.25, 0.2, 0.2])](generator, shape)
    if generator.random() < 0.25:  # a second surface behind an edge
        y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
        angle = generator.uniform(0, 2 * np.pi)
        is_behind = np.cos(angle) * x + np.sin(angle) * y > generator.uniform(0.4, 1.1)
        behind = materials[generator.choice(4)](generator, shape)
        scene = np.where(is_behind[..., None], behind * np.float32(generator.uniform(0.4, 1)), scene)
    return np.clip(scene, 0, 1).astype(np.float32)


def _wood(generator: np.random.Generator, shape: tuple[int, int]) -> Colors:
    size = max(shape)
    long, fine = generator.uniform(0.3, 1.5) * size, generator.uniform(0.004, 0.02) * size
    is_vertical = generator.random() < 0.5
    if is_vertical:
        squeezed = max(2, int(shape[0] / long * fine) + 2), shape[1]
    else:
        squeezed = shape[0], max(2, int(shape[1] / long * fine) + 2)
    streaks = smooth_noise(generator, squeezed, max(1.5, fine), 2)
    rows = np.linspace(0, squeezed[0] - 1, shape[0]).astype(int)
    columns = np.linspace(0, squeezed[1] - 1, shape[1]).astype(int)
    texture = streaks[rows[:, None], columns] + np.float32(0.3) * grain(slice(0, shape[0]), slice(0, shape[1]))
    color = np.asarray(WOOD[generator.choice(len(WOOD))], np.float32)
    return np.asarray((1 + np.float32(generator.uniform(0.02, 0.12)) * texture)[..., None] * color)


def _cloth(generator: np.random.Generator, shape: tuple[int, int]) -> Colors:
    pitch = generator.uniform(2.5, 9) * max(1.0, max(shape) / 1000)
    rows, columns = slice(0, shape[0]), slice(0, shape[1])
    folds = smooth_noise(generator, shape, max(shape) / 4, 2)
    x = np.arange(shape[1], dtype=np.float32) + 3 * folds
    y = np.arange(shape[0], dtype=np.float32)[:, None] + 3 * folds
    weave = np.sin(2 * np.pi * x / pitch) * np.sin(2 * np.pi * y / pitch) + np.float32(0.5) * grain(rows, columns)
    if generator.random() < 0.4:  # checks or stripes
        wide = generator.uniform(8, 30) * pitch
        weave += 2 * np.sign(np.sin(2 * np.pi * x / wide))
        if generator.random() < 0.5:
            weave += 2 * np.sign(np.sin(2 * np.pi * y / wide))
    light = 1 + np.float32(0.08) * folds + np.float32(generator.uniform(0.03, 0.12)) * weave
    return np.asarray(light[..., None] * generator.uniform(0.1, 0.85, 3).astype(np.float32))


def _stone(generator: np.random.Generator, shape: tuple[int, int]) -> Colors:
    rows, columns = slice(0, shape[0]), slice(0, shape[1])
    speckle = grain(rows, columns) + smooth_noise(generator, shape, max(2, max(shape) / 60), 2)
    color = np.float32(generator.uniform(0.1, 0.8)) * generator.uniform(0.85, 1.1, 3).astype(np.float32)
    return (1 + np.float32(generator.uniform(0.02, 0.2)) * speckle)[..., None] * color


def _plain(generator: np.random.Generator, shape: tuple[int, int]) -> Colors:
    shade = 1 + np.float32(0.05) * smooth_noise(generator, shape, max(shape) / 2, 2)
    return shade[..., None] * generator.uniform(0.03, 0.9, 3).astype(np.float32)


def glare(generator: np.random.Generator, shape: tuple[int, int]) -> Colors:
    """Return reflections of lamps and windows (height, width, 1) on a glossy board, to be added to its light."""
    y, x = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None], np.linspace(0, 1, shape[1], dtype=np.float32)
    total = np.zeros(shape, np.float32)
    for _ in range(generator.integers(0, 4)):
        center_y, center_x = generator.random(), generator.random()
        height, width = generator.uniform(0.05, 0.3), generator.uniform(0.05, 0.4)
        spot = np.exp(-(((y - center_y) / height) ** 2) - ((x - center_x) / width) ** 2)
        total += np.float32(generator.uniform(0.05, 0.3)) * spot.astype(np.float32)
    return total[..., None]
