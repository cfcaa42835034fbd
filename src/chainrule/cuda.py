"""The functions of PyTorch's `cuda` that scripts call first: chainrule uses no GPUs."""


def is_available() -> bool:
    """Return False: chainrule computes on the CPU."""
    return False


def device_count() -> int:
    """Return 0."""
    return 0


def manual_seed(seed: int) -> None:
    """Do nothing: no random numbers are drawn on a GPU. `chainrule.manual_seed` seeds those of the CPU."""


manual_seed_all = manual_seed
