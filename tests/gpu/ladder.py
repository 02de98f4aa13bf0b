"""`tidegate verify --device cuda` over models, ranks, lengths and widths, many at a time.

    python3 tests/gpu/ladder.py TIDEGATE [GROUP]... [OPTION]...

TIDEGATE is the command line of a build. Every run holds f32 or bf16 on the GPU against the fp64 token form on the
CPU, by tensor and by row; one precision a run, which leaves out the CPU's own forms. Groups: `lengths`, five bare scans
of tidegate.fla and four of several states, or of vectors, at every length; `widths`, the bare scans of the gated delta
rule, GLA, KDA, Mamba-2, RWKV-7 and Gated DeltaProduct at every pair of key and value widths; `golden`, the reference
models of tests/golden in f32; `models`, GLA, DeltaNet, Gated DeltaNet and LaCT at a low and
at full rank, KDA, RWKV-7, Mamba-2, Gated DeltaProduct, each at every length; `heads`, the same models with one head of
every width. Without names all run, cheap runs first.

One line per run as it ends, with the failed rows of one that does not hold; then per group how many held and the
largest share of a bound. `--lengths` replaces the lengths, `--only` takes those whose name it is in, `--precision`
those of one precision, `--part` takes every N-th run from the I-th. `--log` keeps results in FILE; runs whose
result is there already are not run again, so that the same call goes on where the last one ran out of its seconds.
Exits 1 if a run does not hold, or has not come to its end, 2 if there is none to run.
"""

import argparse
import concurrent.futures
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ["bf16", "f32"]
LENGTHS = [1, 17, 63, 64, 65, 1000, 4321]
WIDTHS = [16, 32, 48, 64, 80, 96, 128, 160, 192, 256]
SMALL = "D=64 L=2 vocab=40 "
MODELS = {
    "gla rank 32": ("gla", "H=2 mlp_width=48 rank=32"), "gla full": ("gla", "H=2 mlp_width=48"),
    "delta_net rank 32": ("delta_net", "H=2 mlp_width=48 rank=32"), "delta_net full": ("delta_net", "H=2 mlp_width=48"),
    "gated_deltanet rank 32": ("gated_deltanet", "H=2 head_dim=32 mlp_width=48 rank=32"),
    "gated_deltanet full": ("gated_deltanet", "H=2 head_dim=32 mlp_width=48"),
    "lact rank 8": ("lact", "H=2 N=2 chunk=64 window=64 mlp_width=48 rank=8"),
    "lact rank 32": ("lact", "H=2 N=1 chunk=64 window=64 mlp_width=48 rank=32"),
    "lact full": ("lact", "H=2 N=2 chunk=64 window=64 mlp_width=48"),
    "kda": ("kda", "H=2 head_dim=32 mlp_width=48"),
    "rwkv7": ("rwkv7", "head_dim=32 decay_rank=16 rate_rank=16 value_rank=8 gate_rank=16"),
    "mamba2": ("mamba2", "head_dim=32 N=32"), "delta_product": ("delta_product", "H=2 head_dim=32 mlp_width=48"),
}
ONE_HEAD = {  # of a width W, `share` of 64
    "gla": "D=64 H=1 expand_k={share} expand_v={share} mlp_width=48",
    "delta_net": "D=64 H=1 expand_k={share} expand_v={share} mlp_width=48",
    "gated_deltanet": "D=64 H=1 head_dim={W} mlp_width=48", "lact": "D={W} H=1 N=1 chunk=32 window=32 mlp_width=48",
    "kda": "D=64 H=1 head_dim={W} mlp_width=48", "mamba2": "D={W} expand=1 head_dim={W} N={W}",
    "rwkv7": "D={W} head_dim={W} decay_rank=16 rate_rank=16 value_rank=8 gate_rank=16",
    "delta_product": "D=64 H=1 head_dim={W} mlp_width=48",
}
FLA = "frontends/python/tidegate/fla/"
SCANS = {"gla": FLA + "gla.tg", "simple_gla": FLA + "simple_gla.tg", "delta_rule": FLA + "delta.tg",
         "gated_delta_rule": FLA + "delta.tg", "kda": FLA + "delta.tg", "state_space": "examples/mamba2/mamba2.tg",
         "bounded_decay": "tests/gpu/two_adds.tg", "two_steps": "tests/gpu/two_adds.tg"}
SEVERAL = ["sum_and_norm", "slots", "two_memories", "vectors"]
SCANS |= dict.fromkeys(SEVERAL, "tests/gpu/several_states.tg")
LONG = ["gla", "simple_gla", "delta_rule", "gated_delta_rule", "kda", *SEVERAL]
WIDE = ["gated_delta_rule", "gla", "kda", "state_space", "bounded_decay", "two_steps"]


def entry(name, T, K, V):
    sizes = {"H": 2, "HV": 2, "G": 2, "K": K, "V": V, "N": K, "P": V, "M": K}
    source = (ROOT / SCANS[name]).read_text().split(f"fn {name}(", 1)[1].split(")", 1)[0]
    named = set(re.findall(r"\w+", source))
    known = [part for size, n in sizes.items() if size in named for part in ("--size", f"{size}={n}")]
    return [SCANS[name], "--entry", name, *known, "--batch", "1", "--seq", str(T)]


def model(name, sets, T):
    parts = [part for value in sets.split() for part in ("--set", value)]
    return [f"examples/{name}/{name}.tg", *parts, "--batch", "1", "--seq", str(T)]


def runs(groups, lengths, precisions):
    """(group, name, arguments) of each run, cheap ones first."""
    found = []  # with T times numbers in a state, about, before each
    for name in LONG if "lengths" in groups else ():
        for T in lengths:
            found.append((T * 64 * 64, ("lengths", f"{name}, T {T}", entry(name, T, 64, 64))))
    for K in WIDTHS if "widths" in groups else ():
        for name in WIDE:
            for V in WIDTHS:
                found.append((65 * K * V, ("widths", f"{name} {K} x {V}", entry(name, 65, K, V))))
    for folder in sorted((ROOT / "tests/golden").glob("*/")) if "golden" in groups else ():
        example = folder.name.rsplit("_r", 1)[0]
        arguments = [f"examples/{example}/{example}.tg", "--golden", str(folder)]
        found.append((100 * 64 * 64, ("golden", folder.name, arguments)))
    for name, (example, sets) in MODELS.items() if "models" in groups else ():
        for T in lengths:
            found.append((2 * T * 64 * 64, ("models", f"{name}, T {T}", model(example, SMALL + sets, T))))
    for name, sets in ONE_HEAD.items() if "heads" in groups else ():
        for W in WIDTHS:
            arguments = model(name, "L=1 vocab=40 " + sets.format(W=W, share=W / 64), 65)
            found.append((65 * W * W, ("heads", f"{name}, {W}", arguments)))
    return [(group, f"{name}, {precision}", [*arguments, "--precision", precision])
            for cost, (group, name, arguments) in sorted(found, key=lambda costed: costed[0])
            for precision in precisions if group != "golden" or precision == "f32"]


def verify(binary, run, ends):
    """The run's report, or none and why."""
    limit = ends - time.monotonic()
    if limit < 1:
        return None, "not started: out of time"
    command = [binary, "verify", *run[2], "--device", "cuda", "--format", "json", "--all", "--threads", "2"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None, "out of time"
    try:
        return json.loads(done.stdout), done.stderr
    except ValueError:
        return None, f"exit code {done.returncode}: {done.stderr.strip()[-600:]}"


def read_log(path):
    """Reports by group and name."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []
    return {(line["group"], line["name"]): line["result"] for line in lines if line["result"]}


def share(row):
    """Of its bound; a NaN comes as null."""
    return float("inf") if row["error"] is None else row["error"] / row["bound"]


class Summary:
    def __init__(self, count):
        self.count, self.ended, self.all, self.held, self.worst = count, 0, {}, {}, {}

    def add(self, group, name, result, told, seconds=None):
        self.ended += 1
        self.all[group] = self.all.get(group, 0) + 1
        rows = result["rows"] if result else []
        holds = bool(result and result["holds"] and rows)
        self.held[group] = self.held.get(group, 0) + holds
        for row in rows:
            kind = next((kind for kind in ("bf16", "f32") if kind in row["check"]), None)
            if kind:
                key = (group, kind, "gradients" if "gradient" in row["check"] else "values")
                self.worst[key] = max(self.worst.get(key, (0,)), (share(row), f"{name}: {row['tensor']}"))
        verdict = f"at most {max(map(share, rows)):.2f} of a bound" if rows else told.strip()
        took = "from the log" if seconds is None else f"{seconds:.0f} s"
        word = "ok" if holds else "FAILED"
        print(f"[{self.ended}/{self.count}] {word} {group} {name}: {verdict} ({took})", flush=True)
        for row in rows if not holds else ():
            if not row["holds"]:
                print(f"    {row['check']}, {row['tensor']}: {row['error']} (bound {row['bound']})", flush=True)

    def print(self):
        for (group, kind, what), (most, where) in sorted(self.worst.items()):
            print(f"{group} {kind} {what}: at most {most:.2f} of a bound ({where})")
        for group in self.all:
            print(f"{group}: {self.held[group]} of {self.all[group]} hold")

    def holds(self):
        return self.held == self.all


def part(text):
    index, count = map(int, text.split("/"))
    if not 1 <= index <= count:
        raise ValueError
    return index, count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", metavar="TIDEGATE")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_argument("--lengths", type=lambda text: list(map(int, text.split(","))), default=LENGTHS, metavar="T,T",
                        help="of `lengths` and `models` (default %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, help="no runs of the other")
    parser.add_argument("--only", type=re.compile, default=re.compile(""), metavar="REGEX", help="names that it is in")
    parser.add_argument("--part", type=part, default=(1, 1), metavar="I/N", help="every N-th run from the I-th")
    parser.add_argument("--jobs", type=int, default=8, help="runs at a time (default 8)")
    parser.add_argument("--seconds", type=float, default=540, help="for all of them (default 540)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keeps results, and goes on from them")
    given = parser.parse_args()
    known = ["lengths", "widths", "golden", "models", "heads"]
    if unknown := set(given.groups) - set(known):
        parser.error(f"unknown groups: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    ends = time.monotonic() + given.seconds
    index, count = given.part
    precisions = [given.precision] if given.precision else PRECISIONS
    found = [run for run in runs(given.groups or known, given.lengths, precisions) if given.only.search(run[1])]
    chosen = found[index - 1::count]
    if not chosen:
        parser.error("these options leave no run")
    logged = read_log(given.log)
    summary = Summary(len(chosen))

    def timed(run):
        began = time.monotonic()
        return run, *verify(given.binary, run, ends), time.monotonic() - began

    for group, name, _ in chosen:
        if (group, name) in logged:
            summary.add(group, name, logged[group, name], "")
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        pending = [pool.submit(timed, run) for run in chosen if run[:2] not in logged]
        for future in concurrent.futures.as_completed(pending):
            (group, name, _), result, told, seconds = future.result()
            if given.log:
                with given.log.open("a") as log:
                    log.write(json.dumps({"group": group, "name": name, "result": result, "told": told}) + "\n")
            summary.add(group, name, result, told, seconds)
    summary.print()
    return not summary.holds()


if __name__ == "__main__":
    sys.exit(main())
