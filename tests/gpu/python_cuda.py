"""The Python package on a GPU: memory used where it lies, `tidegate.fla` against loops over tokens, a PyTorch model
whose mixer is swapped, and times.

    PYTHONPATH=PACKAGE python3 tests/gpu/python_cuda.py [PART]... [--only OPERATOR]... [--peer DIR]

PACKAGE is an unpacked wheel for this Python (scripts/test-python --wheel PYTHON; python3 -m zipfile -e WHEEL PACKAGE).
Needs PyTorch with CUDA, NVRTC and cuBLASLt, and neither a package index nor pytest. --peer names the folder with
flash-linear-attention's package `fla`: it is timed beside ours, and its operator is another mixer. Without names all
parts run: memory, operators, swap, times. Exits 1 if a check fails.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))

import tidegate
import tidegate.torch
from naive import GROUPED, OPERATORS, loop, numbers
from tidegate import fla

failures = 0


def check(name, holds, told=""):
    global failures
    failures += not holds
    print(f"{'ok    ' if holds else 'FAILED'} {name} {told}", flush=True)


def ratio(found, expected):
    """Root mean square of the difference over that of what is expected."""
    found, expected = found.double(), expected.double()
    return ((found - expected).square().mean().sqrt() / (expected.square().mean().sqrt() + 1e-8)).item()


# Memory and streams.

def memory():
    program = tidegate.compile("""
        fn twice(x: [T, n]) -> [T, n] { return 2 * x }
        fn sums(x: [T, n]) -> [T, 1] { return sum(x) }
    """, device="cuda")
    x = torch.arange(6.0, device="cuda").reshape(1, 2, 3)
    y = torch.zeros_like(x)
    native = program.twice.compiled({"x": x})
    native.run({"x": x}, {native.outputs[0][0]: y})
    check("results are written where the caller's memory lies", torch.equal(y, 2 * x))
    x += 1
    native.run({"x": x}, {native.outputs[0][0]: y})
    check("arguments are read where they lie", torch.equal(y, 2 * x))
    check("results are on the GPU", program.twice(x).is_cuda)
    check("NumPy arrays go there and back", (program.twice(x.cpu().numpy()) == 2 * x.cpu().numpy()).all())

    side = torch.cuda.Stream()
    late = torch.zeros(1, 1024, 1024, device="cuda")
    program.twice(late)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)  # A tenth of a second in which nothing may be read.
        late.fill_(3)
        begin = time.perf_counter()
        result = program.twice(late)
        asked = time.perf_counter() - begin
        after = result + 1
    side.synchronize()
    check("a call comes after the caller's stream, and before what follows", bool((after == 7).all()))
    check("a call does not wait for the GPU", asked < 0.05, f"({asked * 1e3:.1f} ms)")

    large = torch.zeros(1, 1 << 19, 1024, device="cuda")
    program.sums(large)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    result = program.sums(large)
    torch.cuda.synchronize()
    taken = before - torch.cuda.mem_get_info()[0]
    check("an argument of 2 GB takes no more memory", taken < 64 << 20 and not result.any(), f"({taken >> 20} MiB)")
    for what, call in {
        "a program for the CPU refuses memory of the GPU": lambda: tidegate.compile(
            "fn twice(x: [T, n]) -> [T, n] { return 2 * x }").twice(x),
        "float64 is refused": lambda: fla.chunk_gla(*[x.double().reshape(1, 2, 1, 3)] * 4),
    }.items():
        try:
            call()
            check(what, False, "no error")
        except (ValueError, tidegate.CompileError) as error:
            check(what, True, f"({str(error).splitlines()[0]})")


# Operators.

#: B, T, H, HV, K, V, and whether a tenth of the gates closes. Every pair of widths is compiled anew.
SHAPES = [(2, 1, 2, 2, 64, 64, False), (2, 17, 2, 2, 16, 16, False), (1, 63, 1, 1, 64, 64, False),
          (2, 130, 2, 2, 64, 32, True), (2, 300, 2, 4, 64, 64, True), (2, 500, 3, 3, 60, 60, False),
          (1, 65, 2, 2, 100, 100, False), (2, 1000, 2, 2, 128, 128, False)]
#: Root-mean-square errors over what is expected, of values, gradients, and gradients of gates and rates. Those of half
#: precision are flash-linear-attention's own, and half as much again for sequences shorter than any that it tests,
#: whose few terms average less.
LINEAR, DELTA, GATED = (5e-3, 5e-3, 5e-3), (6e-3, 8e-3, 8e-3), (5e-3, 8e-3, 2e-2)
HALF = {"gla": LINEAR, "simple_gla": LINEAR, "retention": LINEAR, "delta_rule": DELTA, "gated_delta_rule": GATED,
        "kda": GATED}
FLOAT = (1e-4, 1e-4, 1e-3)
#: Or the largest error is at most this, of gates in half precision and of all else: some gradients are zero.
SMALL_OF_GATES, SMALL = 2e-4, 1e-6
SHORT = 63
GATES, RATES = ("g", "gk"), ("g", "gk", "beta")


def operator_case(name, dtype, shape, state, packed):
    """Errors of tensors, as shares of their bounds: {tensor: (share, error)}."""
    B, T, H, HV, K, V, closes = shape
    HV = HV if name in GROUPED else H
    rng = np.random.default_rng(T)
    cuts = [0, T // 3, T // 3 + 1, T] if packed else [0, T]
    rows = 1 if packed else B
    N = len(cuts) - 1 if packed else B
    x = numbers(rng, B=rows, T=T, H=H, HV=HV, K=K, V=V)
    if closes:
        for key in GATES:
            x[key] = np.where(rng.uniform(size=x[key].shape) < 0.1, -1000, x[key])
    x["S0"] = rng.normal(size=(N, HV, K, V))
    keys = (*OPERATORS[name][0], *(["S0"] if state else []))
    # What both get: the numbers in the type of the call. Gates and states are float, as there.
    given = {key: torch.tensor(value, device="cuda").to(dtype if key in "qkv" or key == "beta" else torch.float32)
             for key, value in x.items()}
    own = {key: value.clone().requires_grad_() for key, value in given.items()}
    other = {key: value.double().requires_grad_() for key, value in given.items()}
    do = torch.tensor(rng.normal(size=x["v"].shape), device="cuda").to(dtype)
    dS = torch.tensor(rng.normal(size=x["S0"].shape), device="cuda").float()

    options = {"initial_state": own["S0"], "output_final_state": True} if state else {}
    if packed:
        options["cu_seqlens"] = torch.tensor(cuts, device="cuda", dtype=torch.int32)
    o, S = getattr(fla, name)(*(own[key] for key in OPERATORS[name][0]), **options)
    ((o * do).sum() + ((S * dS).sum() if state else 0)).backward()

    begin = other["S0"] if state else torch.zeros_like(other["S0"])
    spans = list(zip(cuts, cuts[1:]))
    parts = [loop(torch, name, {key: value[:, a:b] for key, value in other.items() if key != "S0"},
                  begin[n:n + 1] if packed else begin) for n, (a, b) in enumerate(spans)]
    expected, final = torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts])
    ((expected * do.double()).sum() + ((final * dS.double()).sum() if state else 0)).backward()

    kind = name.removeprefix("chunk_").removeprefix("fused_recurrent_")
    half = [bound * (1.5 if T < SHORT else 1) for bound in HALF[kind]]
    values, gradients, rates = FLOAT if dtype == torch.float32 else half
    found = {"o": (o, expected, values), **({"final state": (S, final, values)} if state else {})}
    for key in keys:
        found[f"gradient of {key}"] = (own[key].grad, other[key].grad, rates if key in RATES else gradients)
    errors = {}
    for tensor, (have, want, bound) in found.items():
        error = ratio(have, want)
        largest = (have.double() - want).abs().max().item()
        is_gate = tensor.removeprefix("gradient of ") in GATES and dtype != torch.float32
        small = largest <= (SMALL_OF_GATES if is_gate else SMALL)
        errors[tensor] = (error / bound if not small else min(error / bound, 1), error)
    return errors


def operators(only):
    for name in only or OPERATORS:
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            worst, cases = {}, 0
            for shape in SHAPES:
                for state in (False, True):
                    for packed in (False, True) if shape[1] > 2 else (False,):
                        told = f"{name} {str(dtype)[6:]} {shape} state {state} packed {packed}"
                        cases += 1
                        try:
                            errors = operator_case(name, dtype, shape, state, packed)
                        except Exception as error:
                            check(told, False, f"{type(error).__name__}: {error}")
                            continue
                        missed = {tensor: e for tensor, (share, e) in errors.items() if not share <= 1}
                        if missed:
                            check(told, False, ", ".join(f"{tensor} {e:.1e}" for tensor, e in missed.items()))
                        for tensor, found in errors.items():
                            worst[tensor] = max(worst.get(tensor, (0, 0)), found)
            told = ", ".join(f"{tensor} {error:.1e}" for tensor, (_, error) in worst.items())
            check(f"{name} {str(dtype)[6:]}, {cases} cases", all(share <= 1 for share, _ in worst.values()), told)


# A PyTorch model with one operator or another.

class Block(torch.nn.Module):
    def __init__(self, width, heads, operator):
        super().__init__()
        self.heads, self.operator = heads, operator
        self.norm, self.norm2 = torch.nn.RMSNorm(width), torch.nn.RMSNorm(width)
        self.qkv, self.gate = torch.nn.Linear(width, 3 * width, bias=False), torch.nn.Linear(width, width)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.SiLU(),
                                       torch.nn.Linear(4 * width, width))

    def forward(self, x):
        y = self.norm(x)
        q, k, v, g = (part.unflatten(-1, (self.heads, -1)) for part in (*self.qkv(y).chunk(3, -1), self.gate(y)))
        o, _ = self.operator(q, k, v, torch.nn.functional.logsigmoid(g) / 16)
        x = x + self.out(o.flatten(2))
        return x + self.mlp(self.norm2(x))


def curve(operator, steps=100, B=8, T=128, width=128, layers=2):
    """Losses of a byte model on this repository's pages; the same numbers whatever the operator."""
    torch.manual_seed(0)
    pages = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    text = torch.frombuffer(bytearray(pages, "utf-8"), dtype=torch.uint8).long().cuda()
    model = torch.nn.Sequential(torch.nn.Embedding(256, width), *(Block(width, 2, operator) for _ in range(layers)),
                                torch.nn.RMSNorm(width), torch.nn.Linear(width, 256)).cuda()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    starts = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        begin = torch.randint(0, len(text) - T - 1, (B, 1), generator=starts).cuda()
        rows = text[begin + torch.arange(T + 1, device="cuda")]
        loss = torch.nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def naive_gla(q, k, v, g):
    S = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    return loop(torch, "chunk_gla", {"q": q, "k": k, "v": v, "gk": g}, S)


def swap(peer):
    others = {"a loop of torch": naive_gla}
    if peer:
        others["flash-linear-attention's chunk_gla"] = peer["chunk_gla"]
    ours = curve(fla.chunk_gla)
    for name, operator in others.items():
        theirs = curve(operator)
        worst = max(abs(a - b) / b for a, b in zip(ours, theirs))
        check(f"100 steps with tidegate.fla.chunk_gla and with {name}: losses within 1 %", worst < 0.01,
              f"(worst {100 * worst:.3f} %; {theirs[0]:.4f} to {theirs[-1]:.4f}, ours to {ours[-1]:.4f})")


# Times.

def milliseconds(work, repeats=10):
    for _ in range(3):
        work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * repeats)]
    for i in range(repeats):
        events[2 * i].record()
        work()
        events[2 * i + 1].record()
    torch.cuda.synchronize()
    return sorted(events[2 * i].elapsed_time(events[2 * i + 1]) for i in range(repeats))[repeats // 2]


#: Heads, K, V.
TIMED = {"chunk_gla": (16, 32, 64), "chunk_simple_gla": (16, 64, 64), "chunk_retention": (16, 64, 64),
         "chunk_delta_rule": (16, 64, 64), "chunk_gated_delta_rule": (16, 128, 128), "chunk_kda": (16, 128, 128)}


def times(peer, only, rows):
    print(f"B {rows}, T 8000, bf16 with float gates; milliseconds, forward | forward and backward")
    for name, (H, K, V) in TIMED.items():
        if only and name not in only:
            continue
        names = OPERATORS[name][0]
        shapes = {"q": (H, K), "k": (H, K), "v": (H, V), "gk": (H, K), "g": (H,), "beta": (H,)}
        x = {key: torch.randn(rows, 8000, *shapes[key], device="cuda") for key in names}
        x["k"] = torch.nn.functional.normalize(x["k"], dim=-1)
        for key in {"gk", "g"} & x.keys():
            x[key] = torch.nn.functional.logsigmoid(x[key]) / (16 if key == "gk" else 1)
        if "beta" in x:
            x["beta"] = x["beta"].sigmoid()
        x = {key: (value if key in ("gk", "g") else value.bfloat16()).requires_grad_() for key, value in x.items()}
        for whose, operator in {"tidegate": getattr(fla, name), **({"peer": peer[name]} if peer else {})}.items():
            arguments = [x[key] for key in names]

            def forward():
                return operator(*arguments)[0]

            def both():
                o = forward()
                o.backward(o.detach())

            try:
                took = f"{milliseconds(forward):.2f} | {milliseconds(both):.2f}"
                print(f"{name} {H} x {K}/{V} {whose}: {took}", flush=True)
            except Exception as error:
                print(f"{name} {H} x {K}/{V} {whose}: {type(error).__name__}: {error}", flush=True)
        torch.cuda.empty_cache()


def peer_operators(folder):
    sys.path.insert(0, folder)
    from fla.ops.delta_rule import chunk_delta_rule
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.gla import chunk_gla
    from fla.ops.kda import chunk_kda
    from fla.ops.retention import chunk_retention
    from fla.ops.simple_gla import chunk_simple_gla

    return {operator.__name__: operator for operator in (chunk_delta_rule, chunk_gated_delta_rule, chunk_gla,
                                                         chunk_kda, chunk_retention, chunk_simple_gla)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--only", action="append", choices=list(OPERATORS),
                        help="an operator to check or time (default: all)")
    parser.add_argument("--rows", type=int, default=8, help="of what is timed; one warms up the peer's choice of kernels")
    parser.add_argument("--peer")
    given = parser.parse_args()
    peer = peer_operators(given.peer) if given.peer else None
    parts = {"memory": memory, "operators": lambda: operators(given.only), "swap": lambda: swap(peer),
             "times": lambda: times(peer, given.only, given.rows)}
    unknown = set(given.parts) - parts.keys()
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    print(f"tidegate {tidegate.__version__}, torch {torch.__version__}, {torch.cuda.get_device_name()}")
    for name, run in parts.items():
        if not given.parts or name in given.parts:
            begin = time.perf_counter()
            run()
            print(f"-- {name}: {time.perf_counter() - begin:.0f} s", flush=True)
    print(f"{failures} checks failed")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
