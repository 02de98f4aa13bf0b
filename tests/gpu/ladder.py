"""`tidegate verify --device cuda` over models, ranks, lengths and widths, many at a time.

    python3 tests/gpu/ladder.py TIDEGATE [models] [widths] [lengths] [golden] [--jobs N] [--seconds S] [--log FILE]

TIDEGATE is the command line of a build. Every run holds f32 and bf16 on the GPU against the fp64 token form on the
CPU, by tensor and by row. `models`: GLA, DeltaNet, Gated DeltaNet and LaCT at a low and at full rank, KDA, RWKV-7,
Mamba-2, Gated DeltaProduct, each at every length; `widths`: the bare gated delta rule and gated linear attention at
every pair of key and value widths; `lengths`: five bare scans of tidegate.fla at every length; `golden`: the reference
models of tests/golden in f32. Without names all run. Prints each run that does not hold with its failed rows, then per
group how many held and the largest share of a bound. Exits 1 if one does not hold, or did not run to its end within the
seconds.
"""

import argparse
import concurrent.futures
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = [1, 17, 63, 64, 65, 1000, 4321]
WIDTHS = [16, 32, 48, 64, 80, 96, 128, 160, 192, 256]
SMALL = "D=64 L=2 vocab=40".split()
MODELS = {
    "gla rank 32": ("gla", "H=2 mlp_width=48 rank=32"), "gla full": ("gla", "H=2 mlp_width=48"),
    "delta_net rank 32": ("delta_net", "H=2 mlp_width=48 rank=32"), "delta_net full": ("delta_net", "H=2 mlp_width=48"),
    "gated_deltanet rank 32": ("gated_deltanet", "H=2 head_dim=32 mlp_width=48 rank=32"),
    "gated_deltanet full": ("gated_deltanet", "H=2 head_dim=32 mlp_width=48"),
    "lact rank 8": ("lact", "H=2 N=2 chunk=64 window=64 mlp_width=48 rank=8"),
    "lact full": ("lact", "H=2 N=2 chunk=64 window=64 mlp_width=48"),
    "kda": ("kda", "H=2 head_dim=32 mlp_width=48"),
    "rwkv7": ("rwkv7", "head_dim=32 decay_rank=16 rate_rank=16 value_rank=8 gate_rank=16"),
    "mamba2": ("mamba2", "head_dim=32 N=32"), "delta_product": ("delta_product", "H=2 head_dim=32 mlp_width=48"),
}
FLA = "frontends/python/tidegate/fla/"
SCANS = {"gla": FLA + "gla.tg", "simple_gla": FLA + "simple_gla.tg", "delta_rule": FLA + "delta.tg",
         "gated_delta_rule": FLA + "delta.tg", "kda": FLA + "delta.tg"}


def entry(name, T, K, V):
    sizes = {"H": 2, "HV": 2, "K": K, "V": V}
    source = (ROOT / SCANS[name]).read_text().split(f"fn {name}(", 1)[1].split(")", 1)[0]
    known = [part for size, n in sizes.items() if f" {size}]" in source or f" {size}," in source
             for part in ("--size", f"{size}={n}")]
    return [SCANS[name], "--entry", name, *known, "--batch", "1", "--seq", str(T)]


def runs(groups):
    """(group, name, arguments) of each run, the long ones first."""
    found = []
    for name, (model, sets) in MODELS.items() if "models" in groups else ():
        for T in LENGTHS:
            sets_of = [part for value in [*SMALL, *sets.split()] for part in ("--set", value)]
            arguments = [f"examples/{model}/{model}.tg", *sets_of, "--batch", "1", "--seq", str(T)]
            found.append(("models", f"{name}, T {T}", arguments))
    for name in ("gated_delta_rule", "gla") if "widths" in groups else ():
        for K in WIDTHS:
            for V in WIDTHS:
                found.append(("widths", f"{name} {K} x {V}", entry(name, 65, K, V)))
    for name in SCANS if "lengths" in groups else ():
        for T in LENGTHS:
            found.append(("lengths", f"{name}, T {T}", entry(name, T, 64, 64)))
    for folder in sorted((ROOT / "tests/golden").glob("*/")) if "golden" in groups else ():
        model = folder.name.rsplit("_r", 1)[0]
        arguments = [f"examples/{model}/{model}.tg", "--golden", str(folder), "--precision", "f32"]
        found.append(("golden", folder.name, arguments))
    return sorted(found, key=lambda run: -int(run[1].rsplit(" T ", 1)[-1]) if " T " in run[1] else 0)


def verify(binary, run, ends):
    group, name, arguments = run
    limit = ends - time.monotonic()
    if limit < 1:
        return group, name, None, "not started: out of time"
    command = [binary, "verify", *arguments, "--device", "cuda", "--format", "json", "--all", "--threads", "2"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return group, name, None, "out of time"
    try:
        return group, name, json.loads(done.stdout), done.stderr
    except ValueError:
        return group, name, None, f"exit code {done.returncode}: {done.stderr.strip()[-600:]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    known = ["models", "widths", "lengths", "golden"]
    if unknown := set(given.groups) - set(known):
        parser.error(f"unknown groups: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    ends = time.monotonic() + given.seconds
    log = given.log.open("w") if given.log else None
    held, count, worst, failures = {}, {}, {}, 0
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        pending = [pool.submit(verify, given.binary, run, ends) for run in runs(given.groups or known)]
        for future in concurrent.futures.as_completed(pending):
            group, name, result, told = future.result()
            count[group] = count.get(group, 0) + 1
            rows = result["rows"] if result else []
            if log:
                log.write(json.dumps({"group": group, "name": name, "result": result, "told": told}) + "\n")
            for row in rows:
                kind = next((kind for kind in ("bf16", "f32") if kind in row["check"]), None)
                if kind and row["error"] is not None:
                    key = (group, kind, "gradients" if "gradient" in row["check"] else "values")
                    share = (row["error"] / row["bound"], row["error"], f"{name}: {row['tensor']}")
                    worst[key] = max(worst.get(key, (0,)), share)
            if result and result["holds"] and rows:
                held[group] = held.get(group, 0) + 1
                continue
            failures += 1
            print(f"FAILED {name}: {told.strip() if not result else ''}")
            for row in rows:
                if not row["holds"]:
                    print(f"    {row['check']}, {row['tensor']}: {row['error']} (bound {row['bound']})")
            sys.stdout.flush()
    for (group, kind, what), (share, error, where) in sorted(worst.items()):
        print(f"{group} {kind} {what}: at most {share:.2f} of its bound ({error:.2e}, {where})")
    for group in count:
        print(f"{group}: {held.get(group, 0)} of {count[group]} hold")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
