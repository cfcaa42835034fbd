"""Turn times into a table: medians, ratios, fractions of the limit. Takes numbers, returns dicts and text."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from works import Work

OURS = "chainrule"
PEERS = ("PyTorch", "JAX", "scikit-learn")
CLIFF = 2.0
"""A size is a cliff if a FLOP takes at least this many times as long as at the previous size."""


def summary(blocks: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Statistics of the blocks of one library at one work.

    Returns:
        "median", "low" and "high" (the quartiles) over all steps; "steps", their number; "blocks", the median of each.
    """
    every = [value for block in blocks for value in block]
    low, _, high = quantiles(every, n=4, method="inclusive") if len(every) > 1 else every * 3
    medians = [median(block) for block in blocks]
    return {"median": median(every), "low": low, "high": high, "steps": len(every), "blocks": medians}


def best(variants: Mapping[str, Mapping[str, Any]]) -> str:
    """The variant with the smallest median, among those that were measured to the end."""
    most = max(len(entry["blocks"]) for entry in variants.values())
    whole = [name for name, entry in variants.items() if len(entry["blocks"]) == most]
    return min(whole, key=lambda name: variants[name]["median"])


def ratio(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, float]:
    """Their time divided by ours, from the medians of consecutive blocks.

    Returns:
        "ratio": the median over all pairs of blocks; "low" and "high": its 95% confidence interval (by the binomial
        distribution), or the range of all pairs if there are few.
    """
    turns = sorted(a / b for a, b in zip(theirs["blocks"], ours["blocks"], strict=False))
    spared = max(0, int((len(turns) - 1.96 * len(turns) ** 0.5) / 2))
    return {"ratio": median(turns), "low": turns[spared], "high": turns[-1 - spared]}


def ratios(measured: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> dict[str, dict[str, float]]:
    """The ratio of each other library's best variant to ours, from the blocks by library and variant."""
    peers = {peer: summaries(ways) for peer, ways in measured.items() if ways}
    if OURS not in peers:
        return {}
    ours = peers[OURS][best(peers[OURS])]
    return {peer: ratio(ways[best(ways)], ours) for peer, ways in peers.items() if peer != OURS}


def summaries(ways: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, dict[str, Any]]:
    """The statistics of each variant's blocks."""
    return {name: summary(blocks) for name, blocks in ways.items()}


def result(
    work: Work,
    measured: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    failed: Mapping[str, Mapping[str, str]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The result of one work, for the JSON document.

    Args:
        work: the work that was measured.
        measured: the blocks by library and variant.
        failed: why variants are missing, by library and variant.
        facts: additional information.
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


def share(entry: Mapping[str, Any], peer: str, rate: float) -> float | None:
    """The FLOPs per second of a library's best variant as a fraction of `rate`; None for works without FLOPs."""
    if not entry["flops"] or peer not in entry["best"]:
        return None
    return float(entry["flops"] / entry["peers"][peer][entry["best"][peer]]["median"] / rate)


def amount(value: float, unit: str = "s") -> str:
    """Format a time or an amount of memory with three digits: "26.1 µs", "412 MB"."""
    scale = [(1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")] if unit == "B" else [(1e-6, "µs"), (1e-3, "ms"), (1, "s")]
    size, name = next(((s, n) for s, n in reversed(scale) if value >= s), scale[0])
    value /= size
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {name}"


def cell(entry: Mapping[str, Any], peer: str, variant: str) -> str:
    """The median and half the interquartile range as a percentage of it; "-" if nothing was measured."""
    stats = entry["peers"].get(peer, {}).get(variant)
    if stats is None:
        return "-"
    relative_spread = (stats["high"] - stats["low"]) / 2 / stats["median"]
    return f"{amount(stats['median'], entry['unit'])} ±{relative_spread:.0%}"


def row(entry: Mapping[str, Any], rate: float) -> list[str]:
    """A row of the table."""
    cells = [entry["key"], entry["name"], cell(entry, OURS, "eager"), cell(entry, OURS, "jit")]
    for peer in PEERS:
        way = entry["best"].get(peer, "")
        cells.append(cell(entry, peer, way) + (f" {way}" if peer == "PyTorch" and way else ""))
    compared = entry["ratios"].get("PyTorch")
    cells.append(f"{compared['ratio']:.2f} ({compared['low']:.2f}-{compared['high']:.2f})" if compared else "-")
    cells.append(f"{entry['ratios']['JAX']['ratio']:.2f}" if "JAX" in entry["ratios"] else "-")
    cells.append(", ".join(verdict(entry, peer) for peer in entry["goals"]))
    part = share(entry, OURS, rate)
    return [*cells, "-" if part is None else f"{part:.1%}"]


def verdict(entry: Mapping[str, Any], peer: str) -> str:
    """A target ratio, and whether it was reached: "≥ 7 yes", "≥ 2 JAX no"."""
    goal = f"≥ {entry['goals'][peer]:g}" + ("" if peer == "PyTorch" else f" {peer}")
    if peer not in entry["ratios"]:
        return goal
    return f"{goal} {'yes' if entry['ratios'][peer]['ratio'] >= entry['goals'][peer] else 'no'}"


HEADS = ["", "work", "eager", "jit", "PyTorch's best", "JAX jit", "scikit-learn", "PyTorch / ours", "JAX / ours"]
HEADS += ["target", "of limit"]


def table(results: Sequence[Mapping[str, Any]], rate: float) -> str:
    """The table of all works; empty columns are omitted."""
    return columns([HEADS, *(row(entry, rate) for entry in results)])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Format rows in aligned columns, the first row being the header; omit columns that contain only "-"."""
    filled = [c for c in zip(*rows, strict=True) if any(text not in ("-", "") for text in c[1:])]
    widths = [max(map(len, c)) for c in filled]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in zip(*filled, strict=True)
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(line.rstrip() for line in lines)


def growth_table(results: Sequence[Mapping[str, Any]]) -> str:
    """The table of step times by size; GFLOP/s show whether the time grows in proportion to the work."""
    rows = [["784-width-10", "eager", "jit", "PyTorch's best", "PyTorch / ours", "GFLOP/s", "PyTorch's", ""]]
    before: Mapping[str, Any] | None = None
    for entry in results:
        way = entry["best"].get("PyTorch", "")
        compared = entry["ratios"].get("PyTorch")
        speeds = [share(entry, peer, 1e9) for peer in (OURS, "PyTorch")]
        rows.append(
            [
                entry["name"],
                cell(entry, OURS, "eager"),
                cell(entry, OURS, "jit"),
                f"{cell(entry, 'PyTorch', way)} {way}".rstrip(),
                f"{compared['ratio']:.2f}" if compared else "-",
                *("-" if speed is None else f"{speed:.3g}" for speed in speeds),
                "a cliff" if before and cliff(before, entry) else "",
            ]
        )
        before = entry
    return columns(rows)


def cliff(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether our FLOPs take `CLIFF` times as long as at the previous size; sizes far apart are not compared."""
    same_kind = before["key"].partition("-")[0] == after["key"].partition("-")[0]
    if not same_kind or after["flops"] > 8 * before["flops"]:
        return False
    speeds = [share(entry, OURS, 1) for entry in (before, after)]
    return None not in speeds and speeds[0] >= CLIFF * speeds[1]  # type: ignore[operator]


def header(document: Mapping[str, Any]) -> str:
    """The machine, the versions and the method."""
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
        f"the limit: {rate['median'] / 1e9:.0f} GFLOP/s in NumPy's matrix product of 2048×2048 float32 "
        f"({rate['low'] / 1e9:.0f} to {rate['high'] / 1e9:.0f} in the same run)",
        "medians over all blocks, libraries taking turns; ± half the interquartile range; ratios: median over "
        "consecutive blocks, with its 95% interval",
    ]
    return "\n".join(lines + [f"{peer}: skipped, {reason}" for peer, reason in document["skipped"].items()])


def notes(results: Sequence[Mapping[str, Any]]) -> str:
    """Missing variants and additional facts, one per line."""
    lines = []
    for entry in results:
        lines += [f"{entry['key']}: {key}: {value}" for key, value in entry["facts"].items()]
        for peer, reasons in entry["failed"].items():
            lines += [f"{entry['key']}: {peer} {variant}: {reason}" for variant, reason in reasons.items()]
    return "\n".join(lines)
