"""Evaluate a checkpoint: perplexity, log-likelihoods of continuations, and lm-eval's command line.

    python examples/python/evaluate.py [CHECKPOINT]     # trains a tiny one without it
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tidegate

root = Path(__file__).resolve().parents[2]
with tempfile.TemporaryDirectory() as folder:
    text = Path(folder, "text.txt")
    text.write_text("\n".join(page.read_text() for page in sorted((root / "docs").glob("*.md"))))
    run = sys.argv[1] if len(sys.argv) > 1 else Path(folder, "run")
    if len(sys.argv) == 1:
        tidegate.Trainer(root / "examples/gla/gla.tg", params={"D": 32, "L": 1, "H": 2, "vocab": 259}, data=text, out=run,
                         steps=30, batch=8, seq=128, lr=1e-2).train()

    model = tidegate.load(run)
    ids = model.tokenizer.encode(text.read_text()[:4096])
    print(f"perplexity of a byte: {model.perplexity(ids, seq=128):.2f}")

    context, continuations = "The state of the ", ["scan", "xqzj"]
    whole = [model.tokenizer.encode(context + continuation) for continuation in continuations]
    scores = model.log_likelihoods(whole, [len(c) for c in continuations])
    for continuation, (score, greedy) in zip(continuations, scores):
        print(f"log p({continuation!r}) = {score:.2f}")

    try:
        import lm_eval  # noqa: F401
    except ImportError:
        print("lm-eval is not installed; with it, this would run two tasks of the study")
        sys.exit()
    tasks = Path(tidegate.__file__).with_name("tasks")
    subprocess.run([sys.executable, "-m", "tidegate.lm_eval", "run", "--model", "tidegate", "--model_args",
                    f"checkpoint={run},max_length=512", "--tasks", "tidegate_piqa", "tidegate_lambada",
                    "--include_path", str(tasks)], check=True,
                   env={**os.environ, "TIDEGATE_EVAL_DATA": str(root / "tests/python/eval_data")})
