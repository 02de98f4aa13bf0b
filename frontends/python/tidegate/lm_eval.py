"""Checkpoints in EleutherAI's lm-eval.

    lm_eval run --model tidegate --model_args checkpoint=out/gla --tasks tidegate_arc_easy \\
        --include_path $(python -m tidegate.lm_eval --tasks)

The wheel makes `lm_eval` know the model; from a development build, `python -m tidegate.lm_eval run ...` is the same
command. The tasks `tidegate_*` are the six of the study on local files; see docs/python.md.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Iterable

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import model_registry, register_model

from .model import load

TASKS = Path(__file__).with_name("tasks")
_NAME = "tidegate"


class TidegateLM(TemplateLM):
    """checkpoint: a run or a checkpoint. batch_size: rows at once, of speed only. max_length: tokens fed at most
    (default: the run's windows). tokenizer: instead of the run's. compute: "cpu" or "cuda"; lm-eval's own --device,
    which is cuda:0 unless given, says nothing. precision, form: as `tidegate.Program`."""

    def __init__(self, checkpoint: str, batch_size: int | str | None = 8, max_length: int | None = None,
                 tokenizer: str | None = None, compute: str = "cpu", max_gen_toks: int = 256,
                 device: str | None = None, max_batch_size: int | None = None, **options: Any):
        super().__init__()
        self.model = load(checkpoint, tokenizer=tokenizer, device=compute, **options)
        self.tokenizer = None  # lm-eval's own uses are of Hugging Face's; ours is the model's.
        self.batch_size = 8 if batch_size in (None, "auto") else int(batch_size)
        self.max_length = int(max_length or self.model.settings.get("seq") or 2048)
        self.max_gen_toks = int(max_gen_toks)

    @property
    def tokenizer_name(self) -> str:
        return self.model.tokenizer.description

    @property
    def eot_token_id(self) -> int:
        tokenizer = self.model.tokenizer
        return next(id for id in (tokenizer.eos, tokenizer.bos, 0) if id is not None and id < self.model.vocab)

    @property
    def prefix_token_id(self) -> int:
        bos = self.model.tokenizer.bos
        return bos if bos is not None and bos < self.model.vocab else self.eot_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        ids = self.model.tokenizer.encode(string)
        return ids if add_special_tokens is False else self.model.prefix + ids

    def tok_decode(self, ids: list[int]) -> str:
        return self.model.tokenizer.decode_bytes(ids).decode(errors="replace")

    def _scores(self, sequences: list[tuple[list[int], int]]) -> list[tuple[float, bool]]:
        return self.model.log_likelihoods([ids for ids, _ in sequences], [n for _, n in sequences], self.batch_size)

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False,
                              **_: Any) -> list[tuple[float, bool]]:
        sequences = []
        for (context, continuation), before, scored in requests:
            if not scored:
                raise ValueError(f"the continuation {continuation!r} adds no token")
            if len(scored) > self.max_length:
                raise ValueError(f"a continuation has {len(scored)} tokens, but max_length is {self.max_length}")
            # The last token is not fed; what is too long loses its beginning.
            sequences.append(((before + scored)[-(self.max_length + 1):], len(scored)))
        return self._scores(sequences)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, in windows of max_length that score each token once; a window after the first sees what
        comes before its first scored token only as far as it needs to be full."""
        windows: list[tuple[list[int], int]] = []
        owner: list[int] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            ids = self.tok_encode(text, add_special_tokens=False)
            ids = [self.prefix_token_id] + ids
            for begin in range(1, len(ids), self.max_length):
                end = min(begin + self.max_length, len(ids))
                first = max(0, end - self.max_length - 1)
                windows.append((ids[first:end], end - begin))
                owner.append(number)
        sums = [0.0] * len(requests)
        for number, (score, _) in zip(owner, self._scores(windows)):
            sums[number] += score
        return sums

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Prompts of equally many tokens with the same options run side by side."""
        alike: dict[Any, list[int]] = defaultdict(list)
        prompts = []
        for number, request in enumerate(requests):
            context, options = request.args
            until = options.get("until") or []
            until = (until,) if isinstance(until, str) else tuple(until)
            length = int(options.get("max_gen_toks", self.max_gen_toks))
            sampled = bool(options.get("do_sample", float(options.get("temperature") or 0) > 0))
            temperature = float(options.get("temperature") or 1.0) if sampled else 0.0
            ids = self.tok_encode(context)[-self.max_length:] or [self.prefix_token_id]
            prompts.append(ids)
            alike[len(ids), until, length, temperature, float(options.get("top_p") or 1.0)].append(number)
        texts = [""] * len(requests)
        for (_, until, length, temperature, top_p), numbers in alike.items():
            for begin in range(0, len(numbers), self.batch_size):
                rows = numbers[begin:begin + self.batch_size]
                found = self._continue([prompts[n] for n in rows], until, length, temperature, top_p)
                for n, text in zip(rows, found):
                    texts[n] = text
        return texts

    def _continue(self, prompts: list[list[int]], until: Iterable[str], length: int, temperature: float,
                  top_p: float) -> list[str]:
        from . import _tidegate

        decoder = self.model.decoder(len(prompts))
        ids: list[list[int]] = [[] for _ in prompts]
        texts: list[str | None] = [None] * len(prompts)
        logits = decoder.feed(prompts)
        for position in range(length):
            drawn = [_tidegate.sample_token(row, temperature, top_p, n, position) for n, row in enumerate(logits)]
            for n, token in enumerate(drawn):
                if texts[n] is not None:
                    continue
                if token == self.model.tokenizer.eos:
                    texts[n] = self.tok_decode(ids[n])
                    continue
                ids[n].append(token)
                text = self.tok_decode(ids[n])
                cuts = [at for at in (text.find(stop) for stop in until if stop) if at >= 0]
                if cuts:
                    texts[n] = text[:min(cuts)]
            if all(text is not None for text in texts):
                break
            if position + 1 < length:
                logits = decoder.feed([[token] for token in drawn])
        return [self.tok_decode(tokens) if text is None else text for text, tokens in zip(texts, ids)]


if _NAME not in model_registry:
    register_model(_NAME)(TidegateLM)


def main() -> None:
    if sys.argv[1:] == ["--tasks"]:
        print(TASKS)
        return
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
