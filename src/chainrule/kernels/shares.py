"""How loops over whole arrays are shared out among threads: softmax, standardisation, rows, pictures, erf.

Each function has the arguments of the kernel in `plain` that bears its name; the loops' own files in `loops` say what
they do, in which order, and what limits them. Nothing here needs Numba once the loops are kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.kernels.loop import of
from chainrule.kernels.team import spread

# Softmax along B of x (A, B, C, 1)

WIDTH = 1024  # of a block of lines side by side: long runs of memory, but sums that stay in the first cache


def softmax(x: Any, factors: Any, classes: Any, out: Any) -> None:
    """Put f (eˣ / Σ eˣ - [class]) in `out`, with a factor f and a class, if there is such a one, for each line."""
    _lines("_softmax", x, factors, classes, out)


def log_softmax(x: Any, out: Any) -> None:
    """Put x - ln Σ eˣ in `out`."""
    _lines("_log_softmax", x, out)


def class_loss(x: Any, classes: Any, out: Any) -> None:
    """Put ln Σ eˣ - x[class] of each line in `out`, or 0 if there is no such class."""
    _lines("_class_loss", x, classes, out)


def softmax_gradient(p: Any, grad: Any, out: Any) -> None:
    """Put p (G - Σ G p) in `out`."""
    _lines("_softmax_gradient", p, grad, out)


def log_softmax_gradient(y: Any, grad: Any, out: Any) -> None:
    """Put G - eʸ Σ G in `out`."""
    _lines("_log_softmax_gradient", y, grad, out)


LINES = {
    name: (of("softmax", name), of("softmax", f"{name}_side_by_side"))
    for name in ("_softmax", "_log_softmax", "_class_loss", "_softmax_gradient", "_log_softmax_gradient")
}


def _lines(name: str, x: Any, *more: Any) -> None:
    in_one_piece, side_by_side = LINES[name]
    a, _, c, _ = x.shape
    if c == 1:
        spread(in_one_piece, a, x.size, *[array.reshape(a, -1) for array in (x, *more)])
    else:
        spread(side_by_side, a * -(-c // WIDTH), x.size, *[array.reshape(a, -1, c) for array in (x, *more)])


# Standardisation over B and D of x (A, B, C, D)

LONG = 32  # so many neighbours are worth a loop
PART = 64  # rows or pieces
WIDE = 128  # columns, if a row is made of several

MOMENTS_OF_PIECES = of("normalization", "_moments_of_pieces")
STANDARDIZE_PIECES = of("normalization", "_standardize_pieces")
STANDARDIZE_GRADIENT_OF_PIECES = of("normalization", "_standardize_gradient_of_pieces")
STANDARDIZE_LINES = of("normalization", "_standardize_lines")
STANDARDIZE_GRADIENT_OF_LINES = of("normalization", "_standardize_gradient_of_lines")
SUM_PARTS = of("normalization", "_sum_parts")
STANDARDIZE_COLUMNS = of("normalization", "_standardize_columns")
STANDARDIZE_GRADIENT_OF_COLUMNS = of("normalization", "_standardize_gradient_of_columns")


def moments(x: Any, mean: Any, variance: Any) -> None:
    """Put each mean and variance in arrays (A, 1, C, 1)."""
    if _in_pieces(x):
        spread(MOMENTS_OF_PIECES, mean.size, x.size, _pieces(x), _pieces(mean), _pieces(variance))
    else:
        mean[:], variance[:], _, _ = _moments_of_columns(x, x, False)


def standardize(x: Any, factors: Any, shifts: Any, eps: float, out: Any) -> None:
    """Put f (x - mean) / √(variance + eps) + s in `out`.

    Factors f and shifts s are (A, 1, C, 1); or, of x (A, B, 1, 1), they are (1, B, 1, 1), the same for all of A.
    """
    if factors.shape[1] > 1:
        spread(STANDARDIZE_LINES, len(x), x.size, _pieces(x), _pieces(factors), _pieces(shifts), eps, _pieces(out))
    elif _in_pieces(x):
        given = _pieces(x), _pieces(factors), _pieces(shifts)
        spread(STANDARDIZE_PIECES, factors.size, x.size, *given, eps, _pieces(out))
    else:
        mean, variance, _, _ = _moments_of_columns(x, x, False)
        scale = factors / np.sqrt(variance + eps)
        columns = _columns(x, mean, scale, shifts, out)
        spread(STANDARDIZE_COLUMNS, len(x) * columns[0].shape[1], x.size, *columns)


def standardize_gradient(x: Any, grad: Any, factors: Any, eps: float, out: Any, sums: Any, products: Any) -> None:
    """From the gradient G to the result, those to x, s and f.

    With y = (x - mean) / √(variance + eps) and H = f G they are (H - mean(H) - y mean(H y)) / √(variance + eps), put in
    `out`, and Σ G and Σ G y, put in arrays of the factors' shape.
    """
    if factors.shape[1] > 1:
        parts = np.zeros((2, -(-len(x) // PART), x.shape[1]), x.dtype)
        given = _pieces(x), _pieces(grad), _pieces(factors)
        spread(STANDARDIZE_GRADIENT_OF_LINES, parts.shape[1], 2 * x.size, *given, eps, _pieces(out), *parts)
        sums[0, :, 0, 0], products[0, :, 0, 0] = parts.sum(1, np.float64)
    elif _in_pieces(x):
        given, results = (_pieces(x), _pieces(grad), _pieces(factors)), (_pieces(out), _pieces(sums), _pieces(products))
        spread(STANDARDIZE_GRADIENT_OF_PIECES, factors.size, 2 * x.size, *given, eps, *results)
    else:
        mean, variance, sums[:], along = _moments_of_columns(x, grad, True)
        scale = 1 / np.sqrt(variance + eps)
        products[:] = along * scale
        count = x.shape[1] * x.shape[3]
        how = mean, factors * scale, sums / count, along * scale * scale / count
        columns = _columns(x, grad, *how, out)
        spread(STANDARDIZE_GRADIENT_OF_COLUMNS, len(x) * columns[0].shape[1], 2 * x.size, *columns)


def _in_pieces(x: Any) -> bool:
    return bool(x.shape[2] == 1 or x.shape[3] >= LONG)


def _pieces(x: Any) -> Any:
    """(A, B, 1, D) is one piece for each of A: (A, 1, 1, B D)."""
    return x.reshape(len(x), 1, 1, -1) if x.shape[2] == 1 else x


def _columns(x: Any, *more: Any) -> list[Any]:
    """R rows together: (A, B, C, D) as (A, B / R, R C D), and what there is one of for each A, C as (A, 1, R C D)."""
    a, b, c, d = x.shape
    together = max(rows for rows in range(1, max(1, WIDE // (c * d)) + 1) if b % rows == 0)
    wide = [np.broadcast_to(array, (a, together, c, d)) if array.shape[1] == 1 else array for array in (x, *more)]
    return [np.ascontiguousarray(array, x.dtype).reshape(a, -1, together * c * d) for array in wide]


def _moments_of_columns(x: Any, grad: Any, backward: bool) -> Any:
    """Each mean, variance and, backward, Σ G and Σ G (x - mean), in doubles (A, 1, C, 1)."""
    a, count, c, d = len(x), x.shape[1] * x.shape[3], x.shape[2], x.shape[3]
    x, grad = _columns(x, grad)
    parts = -(-x.shape[1] // PART)
    found = np.zeros((4, a, parts, x.shape[2]), x.dtype)
    spread(SUM_PARTS, a * parts, x.size, x, grad, backward, found)
    rows = np.full((parts, 1, 1, 1), PART)
    rows[-1] = x.shape[1] - PART * (parts - 1)
    means, squares, sums, products = found.reshape(4, a, parts, -1, c, d).astype(np.float64)

    def together(parts: Any) -> Any:
        return parts.sum((1, 2, 4))[:, None, :, None]

    mean = together(rows * means) / count
    away = means - mean[:, :, None]
    variance = together(squares + rows * away * away) / count
    return mean, variance, together(sums), together(products + away * sums)


# One loop each

GATHER, SCATTER = of("rows", "_gather_scaled"), of("rows", "_scatter_add")
ERF, WARP = of("special", "_erf"), of("warp", "_warp")


def gather_scaled(table: Any, places: Any, scale: Any, out: Any) -> None:
    """Put table[places] · scale in `out`."""
    spread(GATHER, len(places), out.size // 8, np.ascontiguousarray(table), np.ascontiguousarray(places), scale, out)


def scatter_add(rows: Any, places: Any, out: Any) -> None:
    """Add each row to out[place]; one thread does it all."""
    SCATTER(rows, places, out)


def erf(x: Any, out: Any) -> None:
    """Put erf(x) in `out`; both flat."""
    spread(ERF, x.size, 10 * x.size, x, out)


def warp(images: Any, maps: Any, field: Any, out: Any) -> None:
    """Put in `out` what `images` show at the places that `maps` and `field` say; see `kernels.warp`."""
    spread(WARP, len(images), 10 * images.size, images, maps, field, out)
