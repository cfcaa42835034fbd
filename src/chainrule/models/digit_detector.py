"""`digit_detector`: finds the digits on a page; a fully convolutional network, so pages of any size fit.

At positions four pixels apart, it predicts whether the center of a digit is there, the digit's height and width, and
which digit it is. Digits are the peaks of the first map: Zhou, Wang and Krähenbühl, "Objects as points" (2019).
Features at a stride of 4 pixels are concatenated with upsampled features at a stride of 8, which see more of the
neighborhood, as in Ronneberger, Fischer and Brox, "U-Net" (2015). `scripts/train_detector.py` trains the network.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chainrule import nn, ops
from chainrule.autograd import no_grad
from chainrule.models.registry import Recipe, register
from chainrule.nn import functional as F  # noqa: N812 (its usual name)
from chainrule.safetensors_io import load
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.detection import Detector

STRIDE = 4  # pixels per position of the maps
BAND_ROWS = 96  # rows of pixels in a band
# Pixels that a position of each part's result depends on, in each direction
FINE_REACH = 16
COARSE_REACH = 64
MERGED_REACH = 8
MAP_COUNT = 15  # outputs for each position: the center's logit, 4 of the box, 10 of the digit
SHIPPED = Path(__file__).with_name("shipped_detector")
"""The folder of the detector shipped with chainrule."""

INITIAL_CENTER_BIAS = -4.0  # of the center's logit: hardly any position is the center of a digit
SMOOTH_L1_THRESHOLD = 0.2  # the loss of a box is quadratic below this error
CLASS_WEIGHT = 1.0  # of the digits' cross entropy in the loss


class _Block(nn.Sequential):
    """A convolution with "same" padding, batch normalization, ReLU."""

    def __init__(
        self,
        generator: np.random.Generator | None,
        channels: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        padding = dilation * (kernel // 2)
        layer = nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, bias=False, generator=generator)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        super().__init__(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class DigitDetector(nn.Module):
    """The network: contrast (N, 1, H, W) to maps (N, 15, H / 4, W / 4), where H and W are multiples of 8.

    The maps are: the logit of a digit's center; the logarithms of its height and width, both relative to 22 pixels; the
    center's offset to the right and down, in positions; the logits of the digits 0 to 9.
    """

    def __init__(self, generator: np.random.Generator | None = None) -> None:
        super().__init__()
        self.fine = nn.Sequential(  # to (40, H / 4, W / 4)
            _Block(generator, 1, 16, kernel=5, stride=2),
            _Block(generator, 16, 24, stride=2),
            _Block(generator, 24, 40),
            _Block(generator, 40, 40),
        )
        self.coarse = nn.Sequential(  # to (64, H / 8, W / 8)
            _Block(generator, 40, 48, stride=2),
            _Block(generator, 48, 64),
            _Block(generator, 64, 64, dilation=2),
            _Block(generator, 64, 64, dilation=2),
            _Block(generator, 64, 64),
        )
        self.up = nn.ConvTranspose2d(64, 40, 2, stride=2, generator=generator)
        self.merge = nn.Sequential(_Block(generator, 80, 48), _Block(generator, 48, 48))
        self.head = nn.Conv2d(48, MAP_COUNT, 1, generator=generator)
        bias = np.zeros(MAP_COUNT, np.float32)
        bias[0] = INITIAL_CENTER_BIAS
        self.head.bias = nn.Parameter(bias)

    def forward(self, contrast: Tensor) -> Tensor:
        """Return the maps."""
        fine = self.fine(contrast)
        return self.join(fine, self.context(fine))

    def context(self, fine: Tensor) -> Tensor:
        """Return features of the wider neighborhood, (N, 40, H / 4, W / 4), from fine features of that shape."""
        context: Tensor = self.up(self.coarse(fine))
        return context

    def join(self, fine: Tensor, context: Tensor) -> Tensor:
        """Return the maps from fine features and their `context`."""
        maps: Tensor = self.head(self.merge(ops.cat([fine, context], 1)))
        return maps


def detection_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of the maps: focal loss of centers, smooth L1 of boxes, cross entropy of digits.

    The focal loss (Lin et al., "Focal loss for dense object detection", 2017) is that of "Objects as points": a
    position near a center counts less as a mistake, by a factor of (1 - nearness)⁴.

    Args:
        outputs: the maps (N, 15, H, W).
        targets: (N, 17, H, W): the nearness of a center, 1 at the center; the weight of the position's focal loss; the
            four values of the box; the weight of the box and the digit; 1 for the digit and 0 for the nine others.
    """
    nearness, weight, box, box_weight = targets[:, 0], targets[:, 1], targets[:, 2:6], targets[:, 6:7]
    log_center, log_background = F.logsigmoid(outputs[:, 0]), F.logsigmoid(-outputs[:, 0])
    probability = ops.exp(log_center)
    is_center = (nearness >= 1) * 1.0
    focal = (
        is_center * (1 - probability) ** 2 * log_center
        + (1 - is_center) * (1 - nearness) ** 4 * probability**2 * log_background
    )
    centers = -(weight * focal).sum() / (is_center.sum() + 1)
    difference = outputs[:, 1:5] - box
    distance = ops.abs(difference)
    smooth = ops.where(
        distance < SMOOTH_L1_THRESHOLD, difference**2 / (2 * SMOOTH_L1_THRESHOLD), distance - SMOOTH_L1_THRESHOLD / 2
    )
    boxes = (smooth * box_weight).sum() / (box_weight.sum() + 1)
    digits = -(F.log_softmax(outputs[:, 5:], dim=1) * targets[:, 7:] * box_weight).sum() / (box_weight.sum() + 1)
    return centers + boxes + CLASS_WEIGHT * digits


def digit_probabilities(outputs: Tensor) -> Tensor:
    """Return the probability of each digit's center at each position, (N, 10, H, W), from maps (N, 15, H, W)."""
    return F.sigmoid(outputs[:, :1]) * F.softmax(outputs[:, 5:], dim=1)


@register(
    "finds digits on a page: 14 convolutions, maps of centers, boxes and digits; focal loss",
    Recipe(
        epochs=1,
        steps_per_epoch=24_000,
        batch_size=12,
        optimizer="adamw",
        lr=0.003,
        weight_decay=0.01,
        schedule="one-cycle",
    ),
    loss=detection_loss,
    probabilities=digit_probabilities,
    task="pages",
)
def digit_detector(*, generator: np.random.Generator | None = None) -> nn.Module:
    """Build the detector.

    Args:
        generator: source of the initial weights.

    Shapes: contrast (N, 1, H, W) to maps (N, 15, H / 4, W / 4); H and W are multiples of 8.
    """
    return DigitDetector(generator)


def _fold_normalization(block: _Block) -> None:
    """Replace a block's batch normalization in eval mode by a scale and a bias of the convolution, which is faster."""
    layer, norm, _ = block
    scale = norm.weight.numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
    layer.weight = nn.Parameter(layer.weight.numpy() * scale[:, None, None, None])
    layer.bias = nn.Parameter(norm.bias.numpy() - norm.running_mean.numpy() * scale)
    setattr(block, "1", nn.Identity())  # the normalization's name in the block


def load_detector(folder: Path = SHIPPED) -> Detector:
    """Load the trained detector as a function from contrast (H, W) to maps (15, H / 4, W / 4), float32.

    Args:
        folder: holds model.safetensors, as `scripts/train_detector.py` writes it; by default the one shipped with
            chainrule.
    """
    network = DigitDetector()
    network.load_state_dict(load(folder / "model.safetensors"))
    network.eval()
    for block in network.modules():
        if isinstance(block, _Block):
            _fold_normalization(block)

    def run(part: Callable[..., Tensor], *features: NDArray[np.float32]) -> NDArray[np.float32]:
        with no_grad():
            maps = part(*(from_numpy(np.ascontiguousarray(each[None])) for each in features))
        return np.asarray(maps.numpy()[0])

    def detect(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
        pixels = np.asarray(contrast[None], np.float32)
        fine = run_in_bands(partial(run, network.fine), [pixels], FINE_REACH, STRIDE)
        context = run_in_bands(partial(run, network.context), [fine], COARSE_REACH // STRIDE, bands=2)
        return run_in_bands(partial(run, network.join), [fine, context], MERGED_REACH // STRIDE)

    return detect


def run_in_bands(
    run: Callable[..., NDArray[np.float32]],
    features: Sequence[NDArray[np.float32]],
    reach: int,
    stride: int = 1,
    bands: int = 1,
) -> NDArray[np.float32]:
    """Run a part of a detector on bands of rows, each with the rows around it on which the result depends.

    Bands need less memory than the whole image. To run the parts one after the other takes less time than to run the
    whole network on bands, which depends on more rows around each band.

    Args:
        run: the part, from features (C, H, W) to one array (C′, H / stride, W / stride).
        features: (C, H, W) each.
        reach: number of rows above and below that a row of the result depends on.
        stride: rows of the features for each row of the result.
        bands: number of bands to run at once: more for a part with a large reach and little work per row.
    """
    height = features[0].shape[1]
    band = bands * BAND_ROWS * stride // STRIDE
    result = np.empty((0, height // stride, features[0].shape[2] // stride), np.float32)
    for top in range(0, height, band):
        bottom = min(top + band, height)
        first, last = max(top - reach, 0), min(bottom + reach, height)
        rows = slice((top - first) // stride, (bottom - first) // stride)
        part = run(*(each[:, first:last] for each in features))[:, rows]
        if not top:  # the number of channels is known now
            result = np.empty((len(part), *result.shape[1:]), np.float32)
        result[:, top // stride : bottom // stride] = part
    return result
