"""Compiled products of few rows against NumPy in float64: new numbers at each call, in memory that was poisoned before.

python -m tests.capture.few_rows [--avx2] [FIRST LAST]: every width from FIRST to LAST (1 to 70) with 1 to 20 rows, in the
tiles of this processor or of one with AVX2 alone.
"""

import sys
from itertools import product

import numpy as np


def avx2_alone():
    """Take this processor for one with AVX2 alone; before anything is compiled."""
    from chainrule.kernels import machine, processor

    features = {
        name: there and not name.startswith(("avx512", "avx10")) for name, there in processor.features().items()
    }
    processor.features = lambda: features
    flags = ",".join(f"{'+' if there else '-'}{name}" for name, there in sorted(features.items()))
    machine._target_settings = lambda: ("haswell", flags)


def wrong(shapes):
    """Those of the shapes (type, rows, columns, width) whose product is not NumPy's."""
    import chainrule

    random = np.random.default_rng(1)
    found = []
    for shape in shapes:
        dtype, n, m, k = shape
        w = random.normal(size=(m, k)).astype(dtype)
        weight = chainrule.from_numpy(w.copy())
        compiled = chainrule.jit(lambda x, weight=weight: x @ weight.T)
        close = np.finfo(dtype).eps * 8 * np.sqrt(k)
        for call in range(3):
            x = random.normal(size=(n, k)).astype(dtype)
            result = compiled(x).numpy()
            expected = x.astype(np.float64) @ w.astype(np.float64).T
            if call and not np.allclose(result, expected, rtol=close, atol=close):
                found.append(shape)
                break
            [[specialization]] = compiled.programs.values()
            program = specialization.program
            for value in program.bases:
                if value.kind not in ("argument", "captured"):
                    program.arrays[id(value)][...] = np.nan
    return found


def main(arguments):
    if "--avx2" in arguments:
        avx2_alone()
        arguments.remove("--avx2")
    first, last = map(int, arguments or (1, 70))
    from chainrule.kernels import processor

    shapes = list(product(("f4", "f8"), range(1, 21), (1, 4, 10), range(first, last + 1)))
    print(f"{len(shapes)} shapes, vectors of {processor.registers().vector_bytes} bytes; wrong: {wrong(shapes)}")


if __name__ == "__main__":
    main(sys.argv[1:])
