"""The Python package on a GPU: memory used where it lies, `tidegate.fla` against loops over tokens, a PyTorch model
whose mixer is swapped, and times.

    PYTHONPATH=PACKAGE python3 tests/gpu/python_cuda.py [memory] [operators] [swap] [times] [--only OPERATOR]... [--peer DIR]

PACKAGE is an unpacked wheel for this Python (scripts/test-python --wheel PYTHON; python3 -m zipfile -e WHEEL PACKAGE).
Needs PyTorch with CUDA, NVRTC and cuBLASLt, and neither a package index nor pytest. --peer names the folder with
flash-linear-attention's package `fla`: it is timed beside ours, and its operator is another mixer. Without names all
parts run. Exits 1 if a check fails.
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
from naive import OPERATORS, loop, numbers
from tidegate import fla

failures = 0


def check(name, holds, told=""):
    global failures
    failures += not holds
    print(f"{'ok    ' if holds else 'FAILED'} {name} {told}", flush=True)


def ratio(found, expected):
    """Root mean square of the difference over that of what is expected, at least 1e-3: some gradients are zero."""
    found, expected = found.double(), expected.double()
    return ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt().clamp_min(1e-3)).item()


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

#: T, K, V. Every pair of widths is compiled anew.
SHAPES = {torch.float32: [(1, 16, 16), (17, 16, 16), (130, 16, 16), (65, 64, 32), (300, 64, 32)],
          torch.bfloat16: [(1, 64, 64), (65, 64, 64), (300, 64, 64)]}
#: Root-mean-square ratios, values and gradients. Of half precision flash-linear-attention's own tests allow 5e-3 for values, 8e-3 for
#: most gradients and 2e-2 for those of rates and decays; all gradients have one bound here.
BOUNDS = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (5e-3, 1e-2)}


def operator_case(name, dtype, T, K, V, state, packed):
    rng = np.random.default_rng(T)
    cuts = [0, T // 3, T] if packed else [0, T]
    rows = 1 if packed else 2
    N = 2
    x = numbers(rng, B=rows, T=T, K=K, V=V)
    x["S0"] = rng.normal(size=(N, 2, K, V))
    keys = (*OPERATORS[name][0], *(["S0"] if state else []))
    # What both get: the numbers in the type of the call. Gates and states are float, as there.
    given = {key: torch.tensor(value, device="cuda").to(dtype if key in "qkv" or key == "beta" else torch.float32)
             for key, value in x.items()}
    own = {key: value.clone().requires_grad_() for key, value in given.items()}
    other = {key: value.double().requires_grad_() for key, value in given.items()}
    do = torch.tensor(rng.normal(size=x["v"].shape), device="cuda")
    dS = torch.tensor(rng.normal(size=x["S0"].shape), device="cuda")

    options = {"initial_state": own["S0"], "output_final_state": True} if state else {}
    if packed:
        options["cu_seqlens"] = torch.tensor(cuts, device="cuda", dtype=torch.int32)
    o, S = getattr(fla, name)(*(own[key] for key in OPERATORS[name][0]), **options)
    ((o.double() * do).sum() + ((S.double() * dS).sum() if state else 0)).backward()

    begin = other["S0"] if state else torch.zeros_like(other["S0"])
    spans = list(zip(cuts, cuts[1:]))
    parts = [loop(torch, name, {key: value[:, a:b] for key, value in other.items() if key != "S0"},
                  begin[n:n + 1] if packed else begin) for n, (a, b) in enumerate(spans)]
    expected, final = torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts])
    ((expected * do).sum() + ((final * dS).sum() if state else 0)).backward()

    values = [ratio(o, expected)] + ([ratio(S, final)] if state else [])
    gradients = {key: ratio(own[key].grad, other[key].grad) for key in keys}
    return max(values), max(gradients.values()), max(gradients, key=gradients.get)


def operators(only):
    for name in only or OPERATORS:
        for dtype, (bound, gradient_bound) in BOUNDS.items():
            worst, worst_gradient, of = 0, 0, ""
            for T, K, V in SHAPES[dtype]:
                for state in (False, True):
                    for packed in (False, True) if T > 2 else (False,):
                        told = f"{name} {str(dtype)[6:]} T {T} K {K} V {V} state {state} packed {packed}"
                        try:
                            value, gradient, key = operator_case(name, dtype, T, K, V, state, packed)
                        except Exception as error:
                            check(told, False, f"{type(error).__name__}: {error}")
                            continue
                        if not (value <= bound and gradient <= gradient_bound):
                            check(told, False, f"values {value:.1e}, gradient of {key} {gradient:.1e}")
                        worst = max(worst, value)
                        if gradient > worst_gradient:
                            worst_gradient, of = gradient, key
            check(f"{name} {str(dtype)[6:]}", worst <= bound and worst_gradient <= gradient_bound,
                  f"values {worst:.1e} (bound {bound}), gradients {worst_gradient:.1e} of {of} (bound {gradient_bound})")


# A PyTorch model with one operator or another.

class Block(torch.nn.Module):
    def __init__(self, width, heads, operator):
        super().__init__()
        self.heads, self.operator = heads, operator
        self.norm, self.norm2 = torch.nn.RMSNorm(width), torch.nn.RMSNorm(width)
        self.qkv, self.gate = torch.nn.Linear(width, 3 * width, bias=False), torch.nn.Linear(width, width)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.SiLU(), torch.nn.Linear(4 * width, width))

    def forward(self, x):
        y = self.norm(x)
        q, k, v, g = (part.unflatten(-1, (self.heads, -1)) for part in (*self.qkv(y).chunk(3, -1), self.gate(y)))
        o, _ = self.operator(q, k, v, torch.nn.functional.logsigmoid(g) / 16)
        x = x + self.out(o.flatten(2))
        return x + self.mlp(self.norm2(x))


def curve(operator, steps=100, B=8, T=128, width=128, layers=2):
    """Losses of a byte model on this repository's pages; the same numbers whatever the operator."""
    torch.manual_seed(0)
    text = torch.frombuffer(bytearray("".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))), "utf-8"),
                            dtype=torch.uint8).long().cuda()
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


TIMED = [("chunk_gla", 16, 32, 64), ("chunk_delta_rule", 16, 64, 64), ("chunk_gated_delta_rule", 16, 128, 128)]


def times(peer):
    print("B 8, T 8000, bf16 with float gates; milliseconds, forward | forward and backward")
    for name, H, K, V in TIMED:
        names = OPERATORS[name][0]
        shapes = {"q": (H, K), "k": (H, K), "v": (H, V), "gk": (H, K), "g": (H,), "beta": (H,)}
        x = {key: torch.randn(8, 8000, *shapes[key], device="cuda") for key in names}
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
                print(f"{name} {H} x {K}/{V} {whose}: {milliseconds(forward):.2f} | {milliseconds(both):.2f}", flush=True)
            except Exception as error:
                print(f"{name} {H} x {K}/{V} {whose}: {type(error).__name__}: {error}", flush=True)
        torch.cuda.empty_cache()


def peer_operators(folder):
    sys.path.insert(0, folder)
    from fla.ops.delta_rule import chunk_delta_rule
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.gla import chunk_gla

    return {"chunk_gla": chunk_gla, "chunk_delta_rule": chunk_delta_rule,
            "chunk_gated_delta_rule": chunk_gated_delta_rule}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--only", action="append", choices=list(OPERATORS), help="an operator to check (default: all)")
    parser.add_argument("--peer")
    given = parser.parse_args()
    peer = peer_operators(given.peer) if given.peer else None
    parts = {"memory": memory, "operators": lambda: operators(given.only), "swap": lambda: swap(peer), "times": lambda: times(peer)}
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
