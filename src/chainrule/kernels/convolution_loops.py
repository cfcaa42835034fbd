"""Convolution and its gradients as matrix products whose rows are positions in an image.

Loop order: images and shares of an image (divided among threads), groups, slabs (runs of `slab_rows` consecutive
positions; one call of `tile.product` multiplies one slab), blocks of columns a few vector registers wide, blocks of
taps and channels, small tiles of positions; inside a tile, taps and channels. Each image is first copied into a
zero-padded frame, which fits into the L2 cache, so that no loop has to test for borders. Tables (`geometry`) hold the
offset at which each position's window begins, and the offset of each tap's channels from that offset. So strides,
dilation, padding, and a first layer with a single channel need no loops of their own, and one product (`tile`) serves
three purposes:

- forward: rows are positions, columns output channels, the sum runs over taps and input channels;
- gradient of the input: the same product of grad and the flipped filter. With a stride, the input's positions fall into
  classes that are connected to different taps; each class is a convolution of its own (a pass);
- gradient of the weights: the two tables swap roles. Rows are taps × input channels, columns output channels, the sum
  runs over positions. Images are summed in a number of parts that depends on the shapes only, so the result does not
  depend on the number of threads.

A whole slab is written directly to the result if its rows are adjacent there: if there is one group, whose output
channels fill whole vectors, and the pass covers all positions. Otherwise its rows are copied from a small buffer.

Arithmetic is the limit, and some lanes are idle if a group has fewer output channels than a vector register has lanes
(4 to 16 for float32). With few terms, as in a first layer, memory is the limit. On one core with AVX-512 the second
layer of a small network (64 images, 32 channels of 14 × 14 to 64, taps 5 × 5: 0.64 billion multiply-adds, so 1.28
GFLOP) takes 6.7 ms forward, 6.8 ms for the input gradient and 6.9 ms for the weight gradient, about 190 GFLOP/s. The
first layer (1 channel of 28 × 28 to 32) takes 0.9 ms forward and 1.0 ms for the weight gradient; 0.5 ms of each are
arithmetic. Memory beyond the result: a frame and a slab for each thread; for the weight gradient also up to eight
partial sums of the size of the result.

`convolution_setup` computes the sizes and tables for these kernels.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from chainrule.kernels.calling import DescriptorLayout, stage_kernel
from chainrule.kernels.job import KernelTemplate
from chainrule.kernels.processor import SPARE_ROWS, registers
from chainrule.kernels.tile import product, transpose_square
from chainrule.kernels.tree import ADDRESS, I8, Kernel, Type

if TYPE_CHECKING:
    from chainrule.kernels.calling import DescriptorReader
    from chainrule.kernels.tree import Array, Expr

FRAME = "height width top left frame_height frame_width"  # an image's size, its position in the frame, the frame's size
PACK_FIELDS = DescriptorLayout("weight packed", "columns used_columns column_stride packed_rows ends sources")
"""`columns`: the length of a packed row, rounded up to whole vectors; `used_columns`: how many columns hold weights;
`column_stride`: the distance in `weight` between the columns of a row; `packed_rows` and `sources`: for each row, its
index in `packed`, and the offset of its first column in `weight`; `ends`: where each block of rows ends.
"""
CORRELATE_FIELDS = DescriptorLayout(
    "x weights out scratch",
    f"share_count channels {FRAME} groups columns position_count out_channels uncovered uncovered_count passes "
    "pass_count tables",
)
"""`share_count`: the number of shares into which an image is divided, as many as the largest pass has positions. So any
number of threads can divide even a single image; each computes a range of shares. `columns`: the output channels of a
group, rounded up to whole vectors; `position_count`: H′ W′; `uncovered`: the positions that no tap reaches; `passes`:
PASS_WORDS integers for each pass; `tables`: the index tables of all passes.
"""
PASS_WORDS = 6
"""The integers for each pass of a correlation: the number of its positions, and of its terms; the offset of its weights
in `weights`; the offsets of its starts, positions and terms in `tables`.
"""
SUM_FIELDS = DescriptorLayout(
    "x grad sums scratch",
    f"image_count channels {FRAME} out_channels part_count piece_count groups rows columns position_count terms starts",
)
"""`part_count`: the number of parts into which the images are divided; `piece_count`: the number of pieces into which
the product's rows (taps × input channels) are divided; `rows`: the rows of a piece, including SPARE_ROWS; `columns`:
the output channels of a group, rounded up to whole vectors; `position_count`: H′ W′; `terms`, `starts`: index tables.
"""
ADD_PARTS_FIELDS = DescriptorLayout("sums out scratch", "part_count part_size columns column_stride sources targets")
"""`part_size`: the number of elements of one part; `column_stride`: the distance between the columns of a row in `out`;
`sources` and `targets`: each row's offset in `sums` and in `out`.
"""


@cache
def pack(type: Type) -> Kernel:
    """Pack the weights: each row contiguous, column by column, padded with 0.

    Column j of a row is the weight at the row's source + j · column_stride. The kernel packs blocks first … last - 1. A
    block consists of rows whose sources are adjacent. If it has as many rows as a vector has lanes, it is read and
    transposed in whole vectors.
    """
    kernel = stage_kernel(f"pack_{type}")
    d = PACK_FIELDS.read(kernel)
    weight, packed = d.array("weight", type), d.array("packed", type)
    packed_rows, ends, sources = (d.lookup_table(name) for name in ("packed_rows", "ends", "sources"))
    lanes = registers().vector_bytes // type.bytes
    with kernel.loop(kernel["first"], kernel["last"], as_written=True) as block:
        begin = kernel.variable(I8, 0)
        with kernel.when(block > 0):
            begin.set(ends[block - 1])
        start, end = begin.value, ends[block]
        transposed_columns = kernel.select((end - start).equals(lanes), d.used_columns // lanes * lanes, 0)
        with kernel.loop(0, transposed_columns, lanes, as_written=True) as column:
            square = weight.at(sources[start] + column * d.column_stride)
            transpose_square(kernel, square, d.column_stride, packed.at(column), packed_rows.at(start), d.columns)
        with kernel.loop(start, end, as_written=True) as k:
            line, source = packed.at(packed_rows[k] * d.columns), weight.at(sources[k])
            with kernel.loop(transposed_columns, d.used_columns) as column:
                line[column] = source[column * d.column_stride]
            with kernel.loop(d.used_columns, d.columns) as column:
                line[column] = 0.0
    return kernel


@cache
def correlate(type: Type) -> Kernel:
    """Convolve x (N, H, W, C) with packed weights (groups, terms, columns): out (N, H′, W′, O).

    Each image is divided into shares; the kernel computes shares first … last - 1, counted over all images.
    """
    kernel = stage_kernel(f"correlate_{type}")
    d = CORRELATE_FIELDS.read(kernel)
    x, weights, out, frame = (d.array(name, type) for name in ("x", "weights", "out", "scratch"))
    sums = frame.at(d.frame_height * d.frame_width * d.channels)
    tables, passes, uncovered = (d.lookup_table(name) for name in ("tables", "passes", "uncovered"))
    share_count, first, last = d.share_count, kernel["first"], kernel["last"]
    slabs = _slabs(type)
    with kernel.loop(first // share_count, (last + share_count - 1) // share_count, as_written=True) as image:
        begin = kernel.maximum(first - image * share_count, 0)  # the image's shares: begin … end - 1
        end = kernel.minimum(last - image * share_count, share_count)
        _fill_frame(kernel, d, x.at(image * (d.height * d.width * d.channels)), frame)
        result = out.at(image * (d.position_count * d.out_channels))
        uncovered_begin, uncovered_end = (bound * d.uncovered_count // share_count for bound in (begin, end))
        with kernel.loop(uncovered_begin, uncovered_end, as_written=True) as k:
            result.at(uncovered[k] * d.out_channels).fill_zero(d.out_channels)
        with kernel.loop(0, d.pass_count, as_written=True) as pass_index:
            record = passes.at(pass_index * PASS_WORDS)
            position_count, term_count, weights_offset, *table_offsets = (record[i] for i in range(PASS_WORDS))
            starts, positions, terms = (tables.at(offset).address for offset in table_offsets)
            kernel.call(
                slabs, frame.address, d.channels, weights.at(weights_offset).address, result.address, sums.address,
                starts, positions, terms, term_count, position_count, begin * position_count // share_count,
                end * position_count // share_count, d.groups, d.columns, d.out_channels,
            )  # fmt: skip
    return kernel


@cache
def _slabs(type: Type) -> Kernel:
    """Compute a range of one pass's positions, for one image.

    These are positions[low] … positions[high - 1]; the window of positions[i] begins at starts[i].
    """
    kernel = Kernel(f"slabs_{type}", {
        "frame": ADDRESS, "channels": I8, "weights": ADDRESS, "out": ADDRESS, "sums": ADDRESS, "starts": ADDRESS,
        "positions": ADDRESS, "terms": ADDRESS, "term_count": I8, "position_count": I8, "low": I8, "high": I8,
        "groups": I8, "columns": I8, "out_channels": I8,
    }, internal=True)  # fmt: skip
    frame, weights, out, sums = (kernel.array(name, type) for name in ("frame", "weights", "out", "sums"))
    starts, positions = kernel.array("starts", I8), kernel.array("positions", I8)
    high, groups, columns, out_channels = (kernel[name] for name in ("high", "groups", "columns", "out_channels"))
    position_count, term_count = kernel["position_count"], kernel["term_count"]
    group_out_channels, group_channels = out_channels // groups, kernel["channels"] // groups
    slab_rows = registers().slab_rows
    # whether a whole slab of the product has the memory layout of the same positions of the result
    is_in_order = positions[position_count - 1].equals(position_count - 1)
    is_contiguous = groups.equals(1) & columns.equals(out_channels) & is_in_order
    with (
        kernel.loop(0, groups, as_written=True) as group,
        kernel.loop(kernel["low"], high, slab_rows, as_written=True) as first,
    ):
        rows = kernel.minimum(high - first, slab_rows)
        is_direct = is_contiguous & rows.equals(slab_rows)
        destination = kernel.select(is_direct, out.at(first * out_channels).address, sums.address)
        kernel.call(
            product(type), frame.at(group * group_channels).address, starts.at(first).address, rows, kernel["terms"],
            term_count, weights.at(group * term_count * columns).address, destination, columns, columns, 1,
        )  # fmt: skip
        with kernel.loop(0, kernel.select(is_direct, 0, rows), as_written=True) as row:
            line = out.at(positions[first + row] * out_channels + group * group_out_channels)
            line.copy_from(sums.at(row * columns), group_out_channels)
    return kernel


@cache
def partial_sums(type: Type) -> Kernel:
    """The product of x's windows and grad (N, positions, O), summed over the images of each part.

    `sums` is (parts, pieces, groups, rows, columns): a part is a share of the images; a piece is a share of the rows,
    with a table of terms of its own. The kernel computes pairs first … last - 1, where pair
    part · piece_count + piece is that part and that piece.
    """
    kernel = stage_kernel(f"partial_sums_{type}")
    d = SUM_FIELDS.read(kernel)
    with kernel.loop(kernel["first"], kernel["last"], as_written=True) as pair:
        part, piece = pair // d.piece_count, pair % d.piece_count
        first_image, last_image = (k * d.image_count // d.part_count for k in (part, part + 1))
        _image_loop(kernel, d, type, first_image, last_image, pair, piece, 1)
    return kernel


@cache
def add_images(type: Type) -> Kernel:
    """`partial_sums` for images first … last - 1 of a single part; `sums` holds the sums of this part only."""
    kernel = stage_kernel(f"add_images_{type}")
    d = SUM_FIELDS.read(kernel)
    with kernel.loop(0, d.piece_count, as_written=True) as piece:
        _image_loop(kernel, d, type, kernel["first"], kernel["last"], piece, piece, kernel["overwrite"])
    return kernel


def _image_loop(
    kernel: Kernel,
    d: DescriptorReader,
    type: Type,
    first: Expr,
    last: Expr,
    pair: Expr,
    piece: Expr,
    overwrite: Expr | int,
) -> None:
    """Write the loops that add images first … last - 1 to the sums of a pair (see `partial_sums`)."""
    x, grad, sums, frame = (d.array(name, type) for name in ("x", "grad", "sums", "scratch"))
    grad_copy = frame.at(d.frame_height * d.frame_width * d.channels)
    terms, starts = d.lookup_table("terms").at(piece * d.rows), d.lookup_table("starts")
    group_out_channels, group_channels = d.out_channels // d.groups, d.channels // d.groups
    is_direct = d.groups.equals(1) & d.columns.equals(d.out_channels)  # the product can read grad in place
    with kernel.loop(first, last, as_written=True) as image:
        _fill_frame(kernel, d, x.at(image * (d.height * d.width * d.channels)), frame)
        with kernel.loop(0, d.groups, as_written=True) as group:
            upstream = grad.at(image * (d.position_count * d.out_channels) + group * group_out_channels)
            with kernel.loop(0, kernel.select(is_direct, 0, d.position_count), as_written=True) as position:
                grad_copy.at(position * d.columns).copy_from(upstream.at(position * d.out_channels), group_out_channels)
            overwrites = kernel.select(image.equals(first), kernel.lift(overwrite, I8), 0)
            kernel.call(
                product(type), frame.at(group * group_channels).address, terms.address, d.rows - SPARE_ROWS,
                starts.address, d.position_count, kernel.select(is_direct, upstream.address, grad_copy.address),
                sums.at((pair * d.groups + group) * (d.rows * d.columns)).address, d.columns, d.columns, overwrites,
            )  # fmt: skip


@cache
def add_parts(type: Type) -> Kernel:
    """Sum the parts of rows first … last - 1, and store each row's columns in the weight gradient."""
    kernel = stage_kernel(f"add_parts_{type}")
    d = ADD_PARTS_FIELDS.read(kernel)
    sums, out, line = (d.array(name, type) for name in ("sums", "out", "scratch"))
    sources, targets = d.lookup_table("sources"), d.lookup_table("targets")
    with kernel.loop(kernel["first"], kernel["last"], as_written=True) as row:
        source, target = sums.at(sources[row]), out.at(targets[row])
        with kernel.loop(0, d.columns) as column:
            line[column] = source[column]
        with kernel.loop(1, d.part_count, as_written=True) as part:
            part_sums = source.at(part * d.part_size)
            with kernel.loop(0, d.columns) as column:
                line[column] = line[column] + part_sums[column]
        with kernel.loop(0, d.columns) as column:
            target[column * d.column_stride] = line[column]
    return kernel


def _fill_frame(kernel: Kernel, d: DescriptorReader, image: Array, frame: Array) -> None:
    """Copy an image into its frame, with zeros around it."""
    frame_row, image_row = d.frame_width * d.channels, d.width * d.channels
    frame.fill_zero(d.top * frame_row)
    with kernel.loop(0, d.height, as_written=True) as row:
        line = frame.at((d.top + row) * frame_row)
        line.fill_zero(d.left * d.channels)
        line.at(d.left * d.channels).copy_from(image.at(row * image_row), image_row)
        line.at(d.left * d.channels + image_row).fill_zero(frame_row - d.left * d.channels - image_row)
    frame.at((d.top + d.height) * frame_row).fill_zero((d.frame_height - d.top - d.height) * frame_row)


PACK = KernelTemplate(PACK_FIELDS, pack)
CORRELATE = KernelTemplate(CORRELATE_FIELDS, correlate)
PARTIAL_SUMS = KernelTemplate(SUM_FIELDS, partial_sums)
ADD_IMAGES = KernelTemplate(SUM_FIELDS, add_images)
ADD_PARTS = KernelTemplate(ADD_PARTS_FIELDS, add_parts)
