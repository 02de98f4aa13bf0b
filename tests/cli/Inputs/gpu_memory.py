"""Compares the JSON of `tidegate plan` on stdin with that of `tidegate bench` in a file, both of one training step."""
import json
import sys

plan = json.load(sys.stdin)
with open(sys.argv[1], encoding="utf-8") as file:
    memory = json.load(file)["device_memory"]
assert memory["plan_peak_bytes"] == plan["peak_bytes"] == sum(plan["bytes"].values()), (memory, plan["bytes"])
allocated = plan["peak_bytes"] - plan["bytes"]["driver"]
assert memory["driver_peak_bytes"] == allocated, (memory, allocated, plan["bytes"])
print("the driver's peak is that of the plan without its own share")
