"""The data of the tasks, from local files.

DIR/TASK/SPLIT*.parquet or DIR/TASK/SPLIT*.jsonl in the fields of the published data sets, where DIR is
TIDEGATE_EVAL_DATA or lm-eval's --metadata '{"data": DIR}', TASK is lambada, hellaswag, arc_easy, arc_challenge,
piqa or winogrande, and SPLIT is test or validation.
"""

import os
import re
from pathlib import Path

import datasets


def load(task: str, split: str, data: str | None = None, **_) -> dict[str, datasets.Dataset]:
    """The task's documents by split. Errors: FileNotFoundError, which says what was looked for."""
    folder = data or os.environ.get("TIDEGATE_EVAL_DATA")
    if not folder:
        raise FileNotFoundError("expected the folder of the evaluation data in TIDEGATE_EVAL_DATA, or as data in "
                                "--metadata, but neither is given")
    for kind, ending in (("parquet", "parquet"), ("json", "jsonl")):
        files = sorted(str(path) for path in Path(folder, task).glob(f"{split}*.{ending}"))
        if files:
            return {split: datasets.load_dataset(kind, data_files={split: files}, split=split)}
    raise FileNotFoundError(f"no {split}*.parquet and no {split}*.jsonl in '{Path(folder, task)}'")


def clean(text: str) -> str:
    """HellaSwag's texts without the marks of the pages they come from."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def hellaswag(docs: datasets.Dataset) -> datasets.Dataset:
    return docs.map(lambda doc: {
        "query": clean(f"{doc['activity_label']}: {doc['ctx_a']} {doc['ctx_b'].capitalize()}"),
        "choices": [clean(ending) for ending in doc["endings"]],
        "gold": int(doc["label"])})


def _blank(doc: dict) -> int:
    return doc["sentence"].index("_")


# WinoGrande: each choice completes the context, and what follows is the same; lm-eval takes the contexts as the choices.
def winogrande_contexts(doc: dict) -> list[str]:
    return [doc["sentence"][:_blank(doc)] + doc[option] for option in ("option1", "option2")]


def winogrande_rest(doc: dict) -> str:
    return doc["sentence"][_blank(doc) + 1:].strip()


def winogrande_gold(doc: dict) -> int:
    return int(doc["answer"]) - 1
