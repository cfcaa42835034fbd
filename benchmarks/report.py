"""From times to a table: medians, ratios, the share of the limit. Plain numbers in, plain dicts and text out."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from works import Work

OURS = "chainrule"
PEERS = ("PyTorch", "JAX", "scikit-learn")
CLIFF = 2.0
"""A size is a cliff if a FLOP takes so many times as long as at the size before, or more."""


def summary(blocks: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What is kept of the blocks of one library at one work.

    Returns:
        "median", "low" and "high" (the quartiles) over all steps; "steps", how many; "blocks", the median of each.
    """
    every = [value for block in blocks for value in block]
    low, _, high = quantiles(every, n=4, method="inclusive") if len(every) > 1 else every * 3
    medians = [median(block) for block in blocks]
    return {"median": median(every), "low": low, "high": high, "steps": len(every), "blocks": medians}


def best(variants: Mapping[str, Mapping[str, Any]]) -> str:
    """The variant with the smallest median, of those that were measured to the end."""
    most = max(len(found["blocks"]) for found in variants.values())
    whole = [name for name, found in variants.items() if len(found["blocks"]) == most]
    return min(whole, key=lambda name: variants[name]["median"])


def ratio(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, float]:
    """How many times ours fits into theirs, by the medians of blocks which came right after each other.

    Returns:
        "ratio": the median over all pairs of blocks; "low" and "high": where it lies with 95% confidence (between two
        of the pairs, by the binomial distribution), or all pairs lie if they are few.
    """
    turns = sorted(a / b for a, b in zip(theirs["blocks"], ours["blocks"], strict=False))
    spared = max(0, int((len(turns) - 1.96 * len(turns) ** 0.5) / 2))
    return {"ratio": median(turns), "low": turns[spared], "high": turns[-1 - spared]}


def ratios(measured: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> dict[str, dict[str, float]]:
    """Each other library's best beside ours, of the blocks by library and variant."""
    peers = {peer: summaries(ways) for peer, ways in measured.items() if ways}
    if OURS not in peers:
        return {}
    ours = peers[OURS][best(peers[OURS])]
    return {peer: ratio(ways[best(ways)], ours) for peer, ways in peers.items() if peer != OURS}


def summaries(ways: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, dict[str, Any]]:
    """What is kept of each variant's blocks."""
    return {name: summary(blocks) for name, blocks in ways.items()}


def result(
    work: Work,
    measured: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    failed: Mapping[str, Mapping[str, str]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What one work came to, for the JSON document.

    Args:
        work: what was measured.
        measured: the blocks by library and variant.
        failed: the reasons of variants that could not be had, by library and variant.
        facts: whatever else there is to say.
    """
    peers = {peer: summaries(ways) for peer, ways in measured.items() if ways}
    return {
        "key": work.key,
        "name": work.name,
        "unit": work.unit,
        "flops": work.flops,
        "goals": work.goals,
        "peers": peers,
        "best": {peer: best(variants) for peer, variants in peers.items()},
        "ratios": ratios(measured),
        "failed": {peer: dict(reasons) for peer, reasons in (failed or {}).items() if reasons},
        "facts": dict(facts or {}),
    }


def share(found: Mapping[str, Any], peer: str, rate: float) -> float | None:
    """The FLOPs a second of a library's best, in parts of `rate`; None where FLOPs are not what takes the time."""
    if not found["flops"] or peer not in found["best"]:
        return None
    return float(found["flops"] / found["peers"][peer][found["best"][peer]]["median"] / rate)


def amount(value: float, unit: str = "s") -> str:
    """A time or a size of memory, in three digits: "26.1 µs", "412 MB"."""
    scale = [(1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")] if unit == "B" else [(1e-6, "µs"), (1e-3, "ms"), (1, "s")]
    size, name = next(((s, n) for s, n in reversed(scale) if value >= s), scale[0])
    value /= size
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {name}"


def cell(found: Mapping[str, Any], peer: str, variant: str) -> str:
    """The median and half the distance of the quartiles, as a share of it; "-" where nothing was measured."""
    taken = found["peers"].get(peer, {}).get(variant)
    if taken is None:
        return "-"
    spread = (taken["high"] - taken["low"]) / 2 / taken["median"]
    return f"{amount(taken['median'], found['unit'])} ±{spread:.0%}"


def row(found: Mapping[str, Any], rate: float) -> list[str]:
    """A line of the table."""
    cells = [found["key"], found["name"], cell(found, OURS, "eager"), cell(found, OURS, "jit")]
    for peer in PEERS:
        way = found["best"].get(peer, "")
        cells.append(cell(found, peer, way) + (f" {way}" if peer == "PyTorch" and way else ""))
    compared = found["ratios"].get("PyTorch")
    cells.append(f"{compared['ratio']:.2f} ({compared['low']:.2f}-{compared['high']:.2f})" if compared else "-")
    cells.append(f"{found['ratios']['JAX']['ratio']:.2f}" if "JAX" in found["ratios"] else "-")
    cells.append(", ".join(verdict(found, peer) for peer in found["goals"]))
    part = share(found, OURS, rate)
    return [*cells, "-" if part is None else f"{part:.1%}"]


def verdict(found: Mapping[str, Any], peer: str) -> str:
    """A ratio to reach, and whether it was: "≥ 7 yes", "≥ 2 JAX no"."""
    goal = f"≥ {found['goals'][peer]:g}" + ("" if peer == "PyTorch" else f" {peer}")
    if peer not in found["ratios"]:
        return goal
    return f"{goal} {'yes' if found['ratios'][peer]['ratio'] >= found['goals'][peer] else 'no'}"


HEADS = ["", "work", "eager", "jit", "PyTorch's best", "JAX jit", "scikit-learn", "PyTorch / ours", "JAX / ours"]
HEADS += ["to reach", "of limit"]


def table(results: Sequence[Mapping[str, Any]], rate: float) -> str:
    """All works, a line each; columns in which nothing stands are left out."""
    return columns([HEADS, *(row(found, rate) for found in results)])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Lines of equal columns, the first row being the heads; a column of nothing but "-" is left out."""
    kept = [c for c in zip(*rows, strict=True) if any(text not in ("-", "") for text in c[1:])]
    widths = [max(map(len, c)) for c in kept]
    lines = ["  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in zip(*kept, strict=True)]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(line.rstrip() for line in lines)


def growth_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Step times by size; GFLOP/s tell whether the time grows as the work does."""
    rows = [["784-width-10", "eager", "jit", "PyTorch's best", "PyTorch / ours", "GFLOP/s", "PyTorch's", ""]]
    before: Mapping[str, Any] | None = None
    for found in results:
        way = found["best"].get("PyTorch", "")
        compared = found["ratios"].get("PyTorch")
        speeds = [share(found, peer, 1e9) for peer in (OURS, "PyTorch")]
        rows.append(
            [
                found["name"],
                cell(found, OURS, "eager"),
                cell(found, OURS, "jit"),
                f"{cell(found, 'PyTorch', way)} {way}".rstrip(),
                f"{compared['ratio']:.2f}" if compared else "-",
                *("-" if speed is None else f"{speed:.3g}" for speed in speeds),
                "a cliff" if before and cliff(before, found) else "",
            ]
        )
        before = found
    return columns(rows)


def cliff(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether our FLOPs take `CLIFF` times as long as at the size next before; what is far apart has other limits."""
    same_kind = before["key"].partition("-")[0] == after["key"].partition("-")[0]
    if not same_kind or after["flops"] > 8 * before["flops"]:
        return False
    speeds = [share(found, OURS, 1) for found in (before, after)]
    return None not in speeds and speeds[0] >= CLIFF * speeds[1]  # type: ignore[operator]


def header(document: Mapping[str, Any]) -> str:
    """What it was measured on, and how."""
    machine, rate = document["machine"], document["rate"]
    versions = [f"Python {machine['python']}", f"NumPy {machine['numpy']}"]
    for peer, about in document["versions"].items():
        threads = f" ({about['threads']} threads)" if about.get("threads") else ""
        versions.append(f"{peer} {about['version']}{threads}")
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        ", ".join(versions),
        f"NumPy's BLAS: {machine['blas']}, kernels for {machine['blas kernel']}, {machine['blas threads']} threads; "
        "OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE unset",
        f"the limit: {rate['median'] / 1e9:.0f} GFLOP/s in NumPy's product of 2048×2048 float32 "
        f"(from {rate['low'] / 1e9:.0f} to {rate['high'] / 1e9:.0f}, in the same run)",
        "medians over all blocks, libraries taking turns; ± half the distance of the quartiles; ratios of neighboring "
        "blocks, their median and its 95% interval",
    ]
    return "\n".join(lines + [f"{peer}: skipped, {reason}" for peer, reason in document["skipped"].items()])


def notes(results: Sequence[Mapping[str, Any]]) -> str:
    """Variants that could not be had, and facts beside the figures, a line each."""
    lines = []
    for found in results:
        lines += [f"{found['key']}: {key}: {value}" for key, value in found["facts"].items()]
        for peer, reasons in found["failed"].items():
            lines += [f"{found['key']}: {peer} {variant}: {reason}" for variant, reason in reasons.items()]
    return "\n".join(lines)
