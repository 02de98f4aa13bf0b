"""Recurrences as loops over tokens, in NumPy or torch: the oracle of tests. (B, T, H, ...) arrays of float64."""


def _stack(lib, rows):
    return lib.stack(rows, 1)


def linear_attention(lib, q, k, v, S, scale, decay=None, value_decay=None, beta=None):
    """S = decay S, S += k (v - k S if beta else v) beta; o = scale q S.

    decay: (B, T, H, K) or (B, T, H), value_decay: (B, T, H, V), both factors; S: (B, H, K, V).
    Fewer heads of q and k than of v serve neighbours.
    """
    group = v.shape[2] // q.shape[2]
    heads = [h // group for h in range(v.shape[2])]
    q, k = q[:, :, heads], k[:, :, heads]
    outputs = []
    for t in range(q.shape[1]):
        if decay is not None:
            S = S * (decay[:, t, :, :, None] if len(decay.shape) == 4 else decay[:, t, :, None, None])
        if value_decay is not None:
            S = S * value_decay[:, t, :, None, :]
        new = v[:, t]
        if beta is not None:
            new = (new - lib.einsum("bhk,bhkv->bhv", k[:, t], S)) * beta[:, t, :, None]
        S = S + k[:, t, :, :, None] * new[:, :, None, :]
        outputs.append(scale * lib.einsum("bhk,bhkv->bhv", q[:, t], S))
    return _stack(lib, outputs), S


def unit(lib, x, eps=1e-6):
    return x / lib.sqrt((x * x).sum(-1)[..., None] + eps)
