"""Put a run of the model `reader` into the package, as the network that `chainrule predict` uses by default.

    chainrule train --model reader --data handwriting --validation 2000 --seed 0 --out build/reader
    python scripts/make_weights.py build/reader

or `make weights`, which does both, in about half an hour. The script copies config.json, result.json and the weights
into src/chainrule/models/shipped if the network reads enough of MNIST's test images correctly and its file is small
enough. The same seed gives bitwise identical weights on the same machine with the same NumPy; on others, sums may round
differently.
"""

from __future__ import annotations

import argparse
import sys

from chainrule.errors import UserError
from chainrule.files import atomic_write
from chainrule.training import run as runs
from chainrule.training.evaluation import evaluate
from chainrule.training.image_task import IMAGES

MOST = 1_500_000  # bytes
LEAST = 0.995  # of the test images


def main() -> None:
    """Check the run, copy it, and print its accuracy and its size."""
    parser = argparse.ArgumentParser(description="Puts a trained run into the package.")
    parser.add_argument("run", help="the folder of a finished run on the data set handwriting")
    run = runs.find(parser.parse_args().run)
    if run.config["data"]["name"] != "handwriting" or run.result is None:
        sys.exit(f"{run.folder}: is no finished run on the data set handwriting")
    size = run.weights_file.stat().st_size
    if size > MOST:
        sys.exit(f"{run.weights_file}: {size:,} bytes are more than the {MOST:,} allowed")
    data = IMAGES.load_test(run)  # MNIST's test images
    accuracy = evaluate(run.load_network(), run.model, data.test_images, data.test_labels).accuracy
    if accuracy < LEAST:
        sys.exit(f"{run.folder}: reads {accuracy:.2%} of the test images right, too few")
    runs.SHIPPED.mkdir(exist_ok=True)
    for file in (run.config_file, run.weights_file, run.folder / "result.json"):
        with atomic_write(runs.SHIPPED / file.name) as copy:
            copy.write(file.read_bytes())
    print(f"{runs.SHIPPED}: {run.model.name}, {accuracy:.2%} of the test images right, {size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
