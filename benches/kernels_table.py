#!/usr/bin/env python3
"""Prints the kernel bench's results as tables of ratios: kernels_table.py [target/criterion ...]

A ratio below 1 means that we take less time than the peer. Times are criterion's medians. Given the
directories of several runs (CRITERION_HOME names one), each cell is the least disturbed run's.
"""

import json
import pathlib
import sys

roots = [pathlib.Path(name) for name in sys.argv[1:] or ["target/criterion"]]


def results(group, system, parameter, name):
    """The parsed files of that name, one for each run that has it."""
    paths = [root / group / system / str(parameter) / "new" / name for root in roots]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def median(group, system, parameter):
    """Nanoseconds, or None where that benchmark has not run."""
    found = results(group, system, parameter, "estimates.json")
    return min((r["median"]["point_estimate"] for r in found), default=None)


def throughput(group, system, parameter):
    """Bytes per iteration."""
    return results(group, system, parameter, "benchmark.json")[0]["throughput"]["Bytes"]


dimensions = [96, 128, 384, 768, 1536]
names = [f"{op}-{kind}" for kind in ("f32", "f16") for op in ("l2", "ip", "cosine")]

print("hot in cache: ns, ns of simsimd, ratio")
for group, parameters in [(f"hot-{n}", dimensions) for n in names] + [
    ("hot-hamming-bits", [1024]),
    ("hot-jaccard-bits", [1024]),
]:
    for d in parameters:
        ours, theirs = median(group, "vector", d), median(group, "simsimd", d)
        if ours and theirs:
            print(f"  {group[4:]:14} {d:5} {ours:8.2f} {theirs:8.2f}  {ours / theirs:.2f}")

read = next((p.name for root in roots for p in (root / "memory-read-u64" / "read").glob("[0-9]*")), None)
bandwidth = None
if read:
    bandwidth = throughput("memory-read-u64", "read", read) / median("memory-read-u64", "read", read)
    print(f"from memory ({read} MiB): GB/s, GB/s of simsimd, ratio of times, share of a plain read's {bandwidth:.1f}")
for name in names:
    group = f"memory-{name}"
    for d in dimensions:
        ours, theirs = median(group, "vector", d), median(group, "simsimd", d)
        if ours and theirs and bandwidth:
            size = throughput(group, "vector", d)
            share = size / ours / bandwidth
            print(f"  {name:14} {d:5} {size / ours:8.2f} {size / theirs:8.2f}  {ours / theirs:.2f}  {share:.2f}")
