"""Compare compiled matrix products of few rows with NumPy in float64.

python -m tests.capture.few_rows [--avx2] [FIRST LAST]

Tests every width from FIRST to LAST (default: 1 to 70) with 1 to 20 rows, with the tiles for this processor or, with
--avx2, for one that has no more than AVX2. Each call gets new numbers; the program's memory is filled with NaN between
calls.
"""

import sys
from itertools import product

import numpy as np


def restrict_to_avx2():
    """Treat this processor as one that has no more than AVX2. Call this before anything is compiled."""
    from chainrule.kernels import machine, processor

    features = {
        name: present and not name.startswith(("avx512", "avx10")) for name, present in processor.features().items()
    }
    processor.features = lambda: features
    flags = ",".join(f"{'+' if present else '-'}{name}" for name, present in sorted(features.items()))
    machine._target_settings = lambda: ("haswell", flags)


def wrong(shapes):
    """Return the shapes (type, rows, columns, width) whose product differs from NumPy's."""
    import chainrule

    random = np.random.default_rng(1)
    failures = []
    for shape in shapes:
        dtype, n, m, k = shape
        w = random.normal(size=(m, k)).astype(dtype)
        weight = chainrule.from_numpy(w.copy())
        compiled = chainrule.jit(lambda x, weight=weight: x @ weight.T)
        tolerance = np.finfo(dtype).eps * 8 * np.sqrt(k)
        for _ in range(3):
            x = random.normal(size=(n, k)).astype(dtype)
            result = compiled(x).numpy()
            expected = x.astype(np.float64) @ w.astype(np.float64).T
            if not np.allclose(result, expected, rtol=tolerance, atol=tolerance):
                failures.append(shape)
                break
            [[specialization]] = compiled.specializations.values()
            program = specialization.program
            for value in program.bases:
                if value.kind not in ("argument", "captured"):
                    program.arrays[id(value)][...] = np.nan
    return failures


def main(arguments):
    if "--avx2" in arguments:
        restrict_to_avx2()
        arguments.remove("--avx2")
    first, last = map(int, arguments or (1, 70))
    from chainrule.kernels import processor

    shapes = list(product(("f4", "f8"), range(1, 21), (1, 4, 10), range(first, last + 1)))
    print(f"{len(shapes)} shapes, vectors of {processor.registers().vector_bytes} bytes; wrong: {wrong(shapes)}")


if __name__ == "__main__":
    main(sys.argv[1:])
