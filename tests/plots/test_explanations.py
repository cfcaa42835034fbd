"""What the figures of explanations show: the colors of pixels, captions, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import plots

IMAGE = np.arange(6.0).reshape(2, 3)


def captions(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def lightness(picture):
    return picture.astype(float) @ [0.3, 0.6, 0.1]


def test_lighter_pixels_of_a_map_are_larger_and_zero_is_the_middle():
    signed = np.array([[-2.0, -1.0, 0.0], [0.5, 1.0, 4.0]])
    figure = plots.pixel_maps(IMAGE, [("gradient", signed), ("nothing", 0 * signed)], "Why")
    assert figure.get_suptitle() == "Why"
    assert captions(figure) == ["the image", "gradient\n±4", "nothing\n±0"]
    _, gradient, nothing = (np.asarray(image.get_array()) for image in figure.axes[0].images)
    assert (np.diff(lightness(gradient).ravel()) > 0).all()
    assert (nothing == gradient[0, 2]).all()


@pytest.mark.parametrize("dark", [False, True])
def test_the_image_itself_is_gray(dark):
    figure = plots.pixel_maps(IMAGE, [("gradient", IMAGE)], dark=dark)
    gray = np.asarray(figure.axes[0].images[0].get_array()).astype(int)
    assert (np.diff(gray, axis=2) == 0).all()
    assert ((np.diff(gray[..., 0].ravel()) > 0) == dark).all()


def test_top_images_come_with_their_mean():
    images = np.stack([IMAGE, IMAGE + 3, IMAGE * 0])
    figure = plots.top_images(images, [7.125, 1, 0])
    assert captions(figure) == ["7.12", "1", "0", "their mean"]
    np.testing.assert_allclose(figure.axes[0].images[3].get_array(), images.mean(0))


def test_each_head_has_a_panel_with_the_tokens():
    patterns = np.random.default_rng(0).random((3, 4, 4))
    figure = plots.attention_patterns(patterns, ["a", " ", "\n", "ü"])
    panels = figure.axes[:3]
    assert [axes.get_title("left") for axes in panels] == ["head 0", "head 1", "head 2"]
    for axes, weights in zip(panels, patterns, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), weights)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "␣", "␣", "ü"]


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plots.pixel_maps(IMAGE, []), "pixel_maps: there are no maps"),
        (lambda: plots.pixel_maps(IMAGE, [("gradient", IMAGE.T)]), r"'gradient' has shape \(3, 2\); expected"),
        (lambda: plots.pixel_maps(IMAGE[0], [("gradient", IMAGE[0])]), r"'the image' has shape \(3,\)"),
        (lambda: plots.top_images(IMAGE, [1, 2]), r"top_images: images have shape \(2, 3\) and values \(2,\)"),
        (lambda: plots.top_images(np.ones((0, 2, 2)), []), "top_images: images have shape"),
        (lambda: plots.attention_patterns(np.ones((1, 3, 3)), ["a"]), r"expected \(heads, T, T\) for 1 tokens"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw()
