"""How well `chainrule read` finds and reads digits on photographed pages, made of MNIST's test digits.

    python benchmarks/pages.py [--pages 60] [--first 1000] [--run RUN] [--save DIR]

Prints for each page that is not read to the last digit what is on it, then the sum of all pages, and the median time a
page takes. The pages come from `tests/images/pages.py`; the same numbers make the same pages. With --save, each page is
kept as a JPEG, with boxes drawn on it.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from chainrule.cli.read import reader
from chainrule.images.drawing import draw_page, save_photo
from chainrule.images.page import read_page
from chainrule.training import run as runs

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.images.pages import Score, make_page, score


def main() -> None:
    """Make the pages, read them, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--first", type=int, default=1000, help="the first page's number")
    parser.add_argument("--run", help="of another network than the one that comes with chainrule")
    parser.add_argument("--save", type=Path, help="keep the pages, with boxes, in this folder")
    options = parser.parse_args()
    run = runs.shipped() if options.run is None else runs.find(options.run)
    read = reader(run)
    read(np.zeros((1, 28, 28), np.uint8))  # compiles or loads the loops
    total, times = Score(), []
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.pages):
        page = make_page(number)
        gray = np.asarray(page.image.convert("L"))
        begun = time.perf_counter()
        lines = read_page(gray, read)
        times.append(time.perf_counter() - begun)
        result = score(page, lines)
        total += result
        if result.right < result.written or result.false or not result.in_order:
            print(f"page {number}, {page.kind}: {result}")
        if options.save is not None:
            save_photo(draw_page(page.image.convert("RGB"), lines, "0123456789", 0.5), options.save / f"{number}.jpg")
    print(total)
    print(f"{statistics.median(times):.2f} s a page (median), {max(times):.2f} s at most")


if __name__ == "__main__":
    main()
