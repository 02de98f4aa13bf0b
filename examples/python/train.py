"""Train a model from Python, watch it, and write with it.

    python examples/python/train.py [TEXT]
"""

import sys
import tempfile
from pathlib import Path

import tidegate

gla = Path(__file__).resolve().parents[1] / "gla" / "gla.tg"
with tempfile.TemporaryDirectory() as folder:
    if len(sys.argv) > 1:
        text = sys.argv[1]
    else:  # The repository's own pages.
        pages = sorted((gla.parents[2] / "docs").glob("*.md"))
        text = Path(folder, "text.txt")
        text.write_text("\n".join(page.read_text() for page in pages))

    losses = []

    def watch(record):
        if "loss" in record:
            losses.append(record["loss"])
        if "held_out_loss" in record:
            print(f"step {record['step']}: held-out loss {record['held_out_loss']:.3f}")

    trainer = tidegate.Trainer(gla, params={"D": 64, "L": 2, "H": 2, "vocab": 259}, data=text, out=Path(folder, "run"),
                               steps=60, batch=8, seq=128, lr=5e-3, eval_every=20, held_out_max=8192)
    result = trainer.train(callbacks=[watch])
    print(f"{result['parameters']} parameters, loss {losses[0]:.2f} to {losses[-1]:.2f}")
    assert losses[-1] < losses[0]

    model = trainer.load()
    prompt = model.tokenizer.encode("The ")
    tokens = list(model.generate(prompt, 80, temperature=0.7, stop=[model.tokenizer.eos]))
    print("The " + model.tokenizer.decode_bytes(tokens).decode(errors="replace"))
