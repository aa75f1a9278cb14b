#!/usr/bin/env python3
"""Prints the kernel bench's results as tables of ratios: kernels_table.py [target/criterion]

A ratio below 1 means that we take less time than the peer. Times are criterion's medians.
"""
import json
import pathlib
import sys

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/criterion")


def median(group, system, parameter):
    """Nanoseconds, or None where that benchmark has not run."""
    path = root / group / system / str(parameter) / "new" / "estimates.json"
    return json.loads(path.read_text())["median"]["point_estimate"] if path.exists() else None


def throughput(group, system, parameter):
    """Bytes per iteration."""
    path = root / group / system / str(parameter) / "new" / "benchmark.json"
    return json.loads(path.read_text())["throughput"]["Bytes"]


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

read = next((p.name for p in (root / "memory-read-u64" / "read").glob("[0-9]*")), None)
bandwidth = None
if read:
    bandwidth = throughput("memory-read-u64", "read", read) / median("memory-read-u64", "read", read)
    print(f"from memory ({read} MiB): GB/s, GB/s of simsimd, ratio of times, share of a plain read ({bandwidth:.1f} GB/s)")
for name in names:
    group = f"memory-{name}"
    for d in dimensions:
        ours, theirs = median(group, "vector", d), median(group, "simsimd", d)
        if ours and theirs and bandwidth:
            size = throughput(group, "vector", d)
            share = size / ours / bandwidth
            print(f"  {name:14} {d:5} {size / ours:8.2f} {size / theirs:8.2f}  {ours / theirs:.2f}  {share:.2f}")
