"""A recurrence written in a string, compared with a loop in NumPy.

    python examples/python/new_recurrence.py

The state forgets by a gate a key channel and then takes a step towards the value, as in KDA, but with a momentum-like
second read of the old key. Nobody has a kernel for it; the compiler derives the chunk form and the gradient.
"""

import numpy as np
import tidegate

program = tidegate.compile("""
fn twice_read(q: [T, H, K], k: [T, H, K], p: [T, H, K], v: [T, H, V], g: [T, H, K], beta: [T, H]) -> [T, H, V] {
  scan over t, h in H {
    state S: [K, V] = 0
    S = diag(exp(g[t, h])) . S
    S = S + beta[t, h] * outer(k[t, h], v[t, h] - k[t, h] . S)
    S = S - 0.5 * outer(p[t, h], p[t, h] . S)
    o[t, h] = q[t, h] . S / sqrt(K)
  }
  return o
}
""", precision="f64")


def loop(q, k, p, v, g, beta):
    B, T, H, K = q.shape
    S, o = np.zeros((B, H, K, v.shape[-1])), np.empty_like(v)
    for t in range(T):
        S = S * np.exp(g[:, t])[..., None]
        S = S + (beta[:, t, :, None] * k[:, t])[..., None] * (v[:, t] - np.einsum("bhk,bhkv->bhv", k[:, t], S))[:, :, None]
        S = S - 0.5 * p[:, t, :, :, None] * np.einsum("bhk,bhkv->bhv", p[:, t], S)[:, :, None]
        o[:, t] = np.einsum("bhk,bhkv->bhv", q[:, t], S) / np.sqrt(K)
    return o


rng = np.random.default_rng(0)
B, T, H, K, V = 2, 200, 2, 16, 24
q, k, p = (rng.normal(size=(B, T, H, K)) for _ in range(3))
k, p = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (k, p))
v, g, beta = rng.normal(size=(B, T, H, V)), -rng.random((B, T, H, K)), rng.random((B, T, H))

o = program.twice_read(q, k, p, v, g, beta)
difference = np.abs(o - loop(q, k, p, v, g, beta)).max()
print(f"chunk form against the loop: {difference:.1e}")
assert difference < 1e-12

do = rng.normal(size=o.shape)
gradient = program.twice_read.vjp(do, q, k, p, v, g, beta)["g"]
step = 1e-6 * rng.normal(size=g.shape)
slope = ((loop(q, k, p, v, g + step, beta) - loop(q, k, p, v, g - step, beta)) * do).sum() / 2
print(f"gradient of g along a direction: {(gradient * step).sum():.9e}, by differences {slope:.9e}")
assert np.isclose((gradient * step).sum(), slope, rtol=1e-6)
