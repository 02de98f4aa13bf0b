"""The gated delta rule in plain loops, against what `tidegate run` wrote.

    scan.py make DIR T        DIR/in and DIR/seed, f64
    scan.py check DIR OUT TOLERANCE
"""
import json
import math
import os
import random
import struct
import sys

B, H, K, V = 2, 2, 3, 4


def product(shape):
    return math.prod(shape)


def read(path):
    data = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        begin, end = entry["data_offsets"]
        size, letter = {"F64": (8, "d"), "F32": (4, "f")}[entry["dtype"]]
        tensors[name] = list(struct.unpack("<%d%s" % ((end - begin) // size, letter), data[start + begin : start + end]))
    return tensors


def write(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F64", "shape": shape, "data_offsets": [len(data), len(data) + 8 * len(values)]}
        data += struct.pack("<%dd" % len(values), *values)
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def scan(x, T):
    o, final = [0.0] * (B * T * H * V), [0.0] * (B * H * K * V)
    for b in range(B):
        for h in range(H):
            S = [x["S0"][((b * H + h) * K + i) * V : ((b * H + h) * K + i + 1) * V] for i in range(K)]
            for t in range(T):
                row = (b * T + t) * H + h
                q, k = x["q"][row * K : row * K + K], x["k"][row * K : row * K + K]
                v, a, beta = x["v"][row * V : row * V + V], math.exp(x["g"][row]), x["beta"][row]
                S = [[a * s for s in line] for line in S]
                for j in range(V):
                    error = v[j] - sum(k[i] * S[i][j] for i in range(K))
                    for i in range(K):
                        S[i][j] += beta * k[i] * error
                    o[row * V + j] = sum(q[i] * S[i][j] for i in range(K)) / math.sqrt(K)
            for i in range(K):
                final[((b * H + h) * K + i) * V : ((b * H + h) * K + i + 1) * V] = S[i]
    return {"o": o, "S": final}


command, directory = sys.argv[1:3]
if command == "make":
    T = int(sys.argv[3])
    rng = random.Random(T)
    draw = lambda shape: [rng.gauss(0, 1) for _ in range(product(shape))]
    k = []
    for _ in range(B * T * H):
        row = draw([K])
        length = math.sqrt(sum(x * x for x in row))
        k += [x / length for x in row]
    write(
        os.path.join(directory, "in"),
        {
            "q": ([B, T, H, K], draw([B, T, H, K])),
            "k": ([B, T, H, K], k),
            "v": ([B, T, H, V], draw([B, T, H, V])),
            "g": ([B, T, H], [rng.choice([0, -1e-3, -0.5, -3, -1000]) for _ in range(B * T * H)]),
            "beta": ([B, T, H], [rng.random() for _ in range(B * T * H)]),
            "S0": ([B, H, K, V], draw([B, H, K, V])),
        },
    )
    write(os.path.join(directory, "seed"), {"o": ([B, T, H, V], draw([B, T, H, V])), "S": ([B, H, K, V], draw([B, H, K, V]))})
    sys.exit()

x, seed, out = read(os.path.join(directory, "in")), read(os.path.join(directory, "seed")), read(sys.argv[3])
tolerance, T = float(sys.argv[4]), len(x["g"]) // (B * H)
assert out.keys() == {"o", "S"} | {"grad." + name for name in x}, out.keys()
for name, want in scan(x, T).items():
    scale = max(abs(y) for y in want)
    assert max(abs(y - z) for y, z in zip(want, out[name])) <= tolerance * scale, name
rng = random.Random(1)
for name in x:
    # The slope of <seed, outputs> along a direction in one input, from both sides.
    direction, step = [rng.gauss(0, 1) for _ in x[name]], 1e-5
    loss = []
    for sign in (1, -1):
        moved = dict(x, **{name: [y + sign * step * d for y, d in zip(x[name], direction)]})
        loss.append(sum(a * b for key, values in scan(moved, T).items() for a, b in zip(seed[key], values)))
    slope = (loss[0] - loss[1]) / (2 * step)
    terms = [a * b for a, b in zip(out["grad." + name], direction)]
    assert abs(sum(terms) - slope) <= max(1e-7, tolerance) * sum(map(abs, terms)), (name, sum(terms), slope)
print("values and", len(x), "gradients hold")
