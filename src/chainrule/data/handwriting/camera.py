"""The camera: perspective, light, blur, noise, color and JPEG, from sheet to picture.

`photograph` returns the picture and the matrix with which `to_picture` maps the sheet's pixels to the picture's.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.sheet import smooth_noise
from chainrule.images.raster import resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

    from chainrule.data.handwriting.sheet import Color, Colors

    Matrix = NDArray[np.float64]  # (3, 3), of homogeneous coordinates

COARSE = 8  # the light is computed at 1/8 of the resolution


@dataclass(frozen=True, eq=False)
class Camera:
    """How a sheet is photographed.

    Attributes:
        size: the picture's width and height in pixels, as it is taken.
        corners: the sheet's corners in the picture (4, 2), clockwise from the top left; None for the picture's own.
        blur: the standard deviation of the lens's blur in pixels.
        far_blur: the same at the far end of the picture; 0 if no end is out of focus.
        far_direction: the direction of the far end, in radians.
        motion: the length of a motion blur in pixels.
        noise: the standard deviation of the sensor's noise.
        light: the brightness of white paper, from 0 to 1; above 1 it is overexposed.
        unevenness: how much the light varies over the picture, from 0 to 1.
        vignette: how much darker the corners are, from 0 to 1.
        shadow: how much light a shadow takes, from 0 (none) to 1.
        tint: the color of the light: red, green and blue.
        contrast: the exponent of the tone curve: above 1 makes dark tones darker.
        sharpen: the strength of the phone's sharpening in percent.
        saved_size: the picture's size as it is saved; None for the size as taken.
        quality: the quality of the JPEG, from 1 to 95; 0 for no compression.
    """

    size: tuple[int, int]
    corners: NDArray[np.float64] | None = None
    blur: float = 0.0
    far_blur: float = 0.0
    far_direction: float = 0.0
    motion: float = 0.0
    noise: float = 0.0
    light: float = 1.0
    unevenness: float = 0.0
    vignette: float = 0.0
    shadow: float = 0.0
    tint: Color = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    sharpen: float = 0.0
    saved_size: tuple[int, int] | None = None
    quality: int = 0


def photograph(
    colors: Colors,
    camera: Camera,
    generator: np.random.Generator,
    background: Colors | None = None,
    add_objects: Callable[[Colors], None] | None = None,
) -> tuple[Image.Image, Matrix]:
    """Take a picture of a sheet.

    Args:
        colors: the sheet, (height, width, 3).
        camera: how it is photographed.
        generator: the source of randomness.
        background: what is behind the sheet, of the picture's size; None repeats the sheet's edge.
        add_objects: draws objects on the scene, in place, before the light is applied.

    Returns:
        The picture in mode RGB, and the matrix that maps the sheet's pixels to the picture's.
    """
    from PIL import Image, ImageFilter  # imported on first use

    scene, matrix = _project(colors, camera, background)
    if add_objects is not None:
        add_objects(scene)
    scene *= _light(camera, generator)[..., None] * np.asarray(camera.tint, np.float32)
    if camera.contrast != 1:
        scene = np.power(np.clip(scene, 0, 2), np.float32(camera.contrast))
    picture = _to_image(scene)
    if camera.blur > 0.05:
        picture = picture.filter(ImageFilter.GaussianBlur(camera.blur))
    if camera.far_blur > camera.blur:
        blurred = picture.filter(ImageFilter.GaussianBlur(camera.far_blur))
        picture = Image.composite(blurred, picture, _ramp(picture.size, camera.far_direction))
    if camera.motion > 1:
        picture = _motion_blurred(picture, camera.motion, generator.uniform(0, np.pi))
    if camera.saved_size is not None and camera.saved_size != picture.size:
        shrinks = camera.saved_size[0] < picture.width
        picture = picture.resize(camera.saved_size, Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
        scale = camera.saved_size[0] / camera.size[0], camera.saved_size[1] / camera.size[1]
        matrix = np.diag([*scale, 1.0]) @ matrix
    if camera.noise:
        picture = _to_image(_with_noise(np.asarray(picture, np.float32) / np.float32(255), camera.noise, generator))
    if camera.sharpen:
        picture = picture.filter(ImageFilter.UnsharpMask(1.5, round(camera.sharpen), 2))
    return (compressed(picture, camera.quality) if camera.quality else picture), matrix


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    """Return the picture as it is after saving as a JPEG."""
    from PIL import Image

    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    with Image.open(file) as saved:
        return saved.convert("RGB")


def projection(camera: Camera, width: float, height: float) -> Matrix:
    """Return the matrix (3, 3) that maps the pixels of a sheet to those of the picture as taken."""
    corners = corners_of(*camera.size) if camera.corners is None else camera.corners
    return homography(corners_of(width, height), corners)


def to_picture(matrix: Matrix, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map points (N, 2) of a sheet to the picture."""
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def homography(source: NDArray[np.floating], target: NDArray[np.floating]) -> Matrix:
    """Return the matrix (3, 3) of the perspective that maps four points (4, 2) to four target points."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source.tolist(), target.tolist(), strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def corners_of(width: float, height: float) -> NDArray[np.float64]:
    """Return the corners (4, 2) of a rectangle, clockwise from the top left."""
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], float)


def _to_image(scene: Colors) -> Image.Image:
    from PIL import Image

    return Image.fromarray((np.clip(scene, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8))


def _project(colors: Colors, camera: Camera, background: Colors | None) -> tuple[Colors, Matrix]:
    """Return the sheet in perspective on the background, in the picture's size, and the matrix of the perspective."""
    from PIL import Image

    height, width = colors.shape[:2]
    matrix = projection(camera, width, height)
    if camera.corners is None and (width, height) == camera.size:
        return colors.copy(), matrix
    inverse = np.linalg.inv(matrix)
    inverse /= inverse[2, 2]
    bilinear, coefficients = Image.Resampling.BILINEAR, inverse.ravel()[:8].tolist()
    perspective = Image.Transform.PERSPECTIVE
    warped = _to_image(colors).transform(camera.size, perspective, coefficients, bilinear)
    scene = np.asarray(warped, np.float32) / np.float32(255)
    if background is None:
        return scene, matrix
    white = Image.new("L", (width, height), 255)
    mask = np.asarray(white.transform(camera.size, perspective, coefficients, bilinear), np.float32)[..., None] / 255
    return np.asarray(background + mask * (scene - background * mask), np.float32), matrix


def _light(camera: Camera, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the light (height, width): a gradient, dark corners, and the shadow of a hand or of the phone."""
    width, height = camera.size
    shape = max(2, height // COARSE), max(2, width // COARSE)
    y, x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)
    angle = generator.uniform(0, 2 * np.pi)
    light = 1 + np.float32(camera.unevenness / 2) * (np.cos(angle) * x + np.sin(angle) * y - 1)
    light = light * (1 - np.float32(camera.vignette / 2) * (x**2 + y**2))
    if camera.shadow:
        angle, sharp = generator.uniform(0, 2 * np.pi), generator.uniform(0.005, 0.25)
        across = np.cos(angle) * x + np.sin(angle) * y - generator.uniform(-0.5, 0.8)
        across = across + np.float32(generator.uniform(0, 0.3)) * smooth_noise(generator, shape, max(shape) / 3)
        light = light * (1 - camera.shadow / (1 + np.exp(-np.clip(across / sharp, -50, 50))))
    return np.asarray(camera.light * resize(light.astype(np.float32), (height, width), "BILINEAR"), np.float32)


def _ramp(size: tuple[int, int], direction: float) -> Image.Image:
    """Return a mask that rises from 0 to 255 in a direction."""
    from PIL import Image

    y, x = np.linspace(-1, 1, 64)[:, None], np.linspace(-1, 1, 64)
    ramp = np.clip(0.4 + 0.8 * (np.cos(direction) * x + np.sin(direction) * y), 0, 1)
    return Image.fromarray((255 * ramp).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _motion_blurred(picture: Image.Image, length: float, angle: float) -> Image.Image:
    """Return the picture blurred along a line: the mean of shifted pictures."""
    from PIL import Image

    pixels = np.asarray(picture, np.float32)
    steps = np.linspace(-length / 2, length / 2, int(length) + 2)
    shifts = {(round(step * np.sin(angle)), round(step * np.cos(angle))) for step in steps}
    margin = int(length) + 1
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    height, width = pixels.shape[:2]
    total = np.zeros_like(pixels)
    for down, across in sorted(shifts):
        total += padded[margin + down : margin + down + height, margin + across : margin + across + width]
    return Image.fromarray((total / len(shifts)).astype(np.uint8))


def _with_noise(scene: Colors, amount: float, generator: np.random.Generator) -> Colors:
    """Add the sensor's noise: mostly in brightness, stronger where there is more light, partly smoothed."""
    height, width = scene.shape[:2]
    noise = generator.standard_normal((height, width), np.float32)
    if generator.random() < 0.5:  # as left by a phone's own noise reduction
        coarse_noise = generator.standard_normal((height // 2 + 1, width // 2 + 1), np.float32)
        noise = np.float32(0.6) * noise + np.float32(0.9) * resize(coarse_noise, (height, width), "BILINEAR")
    chroma = generator.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32)
    chroma = np.repeat(np.repeat(chroma, 2, axis=0), 2, axis=1)[:height, :width]
    strength = np.float32(amount) * (np.float32(0.6) + np.float32(0.4) * scene)
    return np.asarray(scene + strength * (noise[..., None] + np.float32(0.4) * chroma), np.float32)
