"""Train the same network in chainrule and PyTorch, from the same weights on the same batches, and compare the losses.

    python examples/side_by_side.py [--batches 500]  # needs PyTorch: pip install 'chainrule[torch]'

Both libraries have the same API, so the network and its training are written once and run in either. A single wrong
gradient would make the columns differ from the second batch on. Everything is in float64; in float32, with 7 digits
instead of 16, the largest difference of the losses is 3e-06. Output:

    batch      chainrule        PyTorch
        1  2.3670997659   2.3670997659
        2  2.8318673243   2.8318673243
        3  2.6114257048   2.6114257048
       50  0.7196355911   0.7196355911
      100  0.2114079451   0.2114079451
      150  0.2935610574   0.2935610574
      200  0.2183993508   0.2183993508
      250  0.3303302136   0.3303302136
      300  0.3712010681   0.3712010681
      350  0.1789318961   0.1789318961
      400  0.1480886423   0.1480886423
      450  0.2964866072   0.2964866072
      500  0.2902271393   0.2902271393
    largest difference of 500 losses: 4.1e-15
    largest difference of the last batch's gradients: 1.6e-14
"""

import argparse
import sys

import numpy as np

import chainrule
from chainrule import data

try:
    import torch
except ImportError:
    print("This example compares with PyTorch, which is not installed: pip install 'chainrule[torch]'", file=sys.stderr)
    sys.exit(2)


def build_network(nn):
    """A 784-128-10 network with ReLU, from `chainrule.nn` or `torch.nn`."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp_to_hidden = nn.Linear(784, 128)
            self.relu = nn.ReLU()
            self.hidden_to_pred = nn.Linear(128, 10)

        def forward(self, x):
            return self.hidden_to_pred(self.relu(self.inp_to_hidden(x)))

    return Net().double()


def learn(library, model, batches):
    """Train a model of a library, `chainrule` or `torch`, on the batches with Adam; returns the loss of each batch."""
    loss = library.nn.CrossEntropyLoss()
    optimizer = library.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        batch_loss = loss(model(library.tensor(x)), library.tensor(y))
        batch_loss.backward()
        optimizer.step()
        losses.append(batch_loss.item())
    return losses


def main(arguments=None):
    """Train both networks and print their losses."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--batches", type=int, default=500, choices=range(1, 782), metavar="N", help="of 64, at most 781 (default: 500)"
    )
    count = parser.parse_args(arguments).batches

    # Pixels from 0 to 1, normalized by the mean and standard deviation of MNIST's training images
    images, labels = data.mnist().split().train
    chosen = np.random.default_rng(0).permutation(len(images))[: count * 64].reshape(-1, 64)
    pixels = ((images[i].reshape(64, 784) / 255 - 0.1307) / 0.3081 for i in chosen)
    batches = [(x, labels[i].astype(np.int64)) for x, i in zip(pixels, chosen, strict=True)]

    torch.manual_seed(0)
    theirs, ours = build_network(torch.nn), build_network(chainrule.nn)
    ours.load_state_dict(theirs.state_dict())  # the parameter names are the same
    columns = learn(chainrule, ours, batches), learn(torch, theirs, batches)

    print("batch      chainrule        PyTorch")
    for number in sorted({1, 2, 3, *range(count // 10, count + 1, max(1, count // 10)), count}):
        one, two = (column[number - 1] for column in columns)
        print(f"{number:>5}  {one:.10f}   {two:.10f}")
    print(f"largest difference of {count} losses: {np.abs(np.subtract(*columns)).max():.1e}")
    gradients = [
        np.abs(p.grad.numpy() - q.grad.numpy()).max()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)
    ]
    print(f"largest difference of the last batch's gradients: {max(gradients):.1e}")


if __name__ == "__main__":
    main()
