"""Checks the JSON of `tidegate bench` on stdin."""
import json
import sys

report = json.load(sys.stdin)
kernels = report["kernels"]
assert kernels and all(row["seconds"] >= 0 and row["calls"] >= 1 for row in kernels), kernels
# Launches are timed inside the step, so their sum cannot exceed it by more than the clock's noise.
assert sum(row["seconds"] for row in kernels) <= report["step_seconds"] * 1.05 + 1e-3
print("rows sum to at most the step")
assert report["flops"] > 0 and report["product_flops_per_second"] > 0 and 0 < report["share"]
print("flops positive")
