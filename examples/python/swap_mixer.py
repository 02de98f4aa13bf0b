"""Keep a PyTorch model and swap one layer: its softmax attention becomes gated linear attention.

    python examples/python/swap_mixer.py        # needs PyTorch
"""

import torch
from torch import nn

import tidegate
import tidegate.torch

program = tidegate.compile("""
param D = 64, H = 2
layer mixer(x: [T, D]) -> [T, D] {
  q = heads(linear(x, D) as q_proj, H)
  k = heads(linear(x, D) as k_proj, H)
  v = heads(linear(x, D) as v_proj, H)
  a = exp(log_sigmoid(heads(linear(x, D, 16, bias = true) as gk_proj, H)) / 16)
  scan over t, h in H {
    state S: [D / H, D / H] = 0
    S = diag(a[t, h]) . S + outer(k[t, h], v[t, h])
    o[t, h] = q[t, h] . S / sqrt(D / H)
  }
  return linear(flatten(rms_norm(o) as o_norm), D) as o_proj
}
""")


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if hasattr(nn, "Transformer") else None
        return self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]


class Model(nn.Module):
    def __init__(self, mixer, width=64, vocab=32):
        super().__init__()
        self.embed, self.norm, self.mixer = nn.Embedding(vocab, width), nn.LayerNorm(width), mixer
        self.head = nn.Linear(width, vocab)

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(x + self.mixer(self.norm(x)))


def train(name, mixer):
    """The token before the last one is to be said: what came before must be remembered."""
    torch.manual_seed(0)
    model = Model(mixer)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(100):
        ids = torch.randint(0, 32, (16, 32))
        logits = model(ids)[:, 1:]
        loss = nn.functional.cross_entropy(logits.reshape(-1, 32), ids[:, :-1].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"{name}: loss {loss.item():.3f} after {step + 1} steps")
    return loss.item()


torch.manual_seed(0)
train("softmax attention (no positions)", Attention(64, 2))
mixer = tidegate.torch.Module(program.mixer, x=(1, 1, 64))
print("weights:", ", ".join(mixer.state_dict()))
assert train("gated linear attention", mixer) < 3.3
