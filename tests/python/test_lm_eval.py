"""lm-eval's own command line on a tiny checkpoint, and its scores against a full forward."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

lm_eval = pytest.importorskip("lm_eval")

import tidegate
from tidegate.lm_eval import TASKS, TidegateLM

DATA = Path(__file__).with_name("eval_data")
NAMES = ["lambada", "hellaswag", "arc_easy", "arc_challenge", "piqa", "winogrande"]
FOLDERS = {"lambada": "test", "hellaswag": "validation", "arc_easy": "test", "arc_challenge": "test",
           "piqa": "validation", "winogrande": "validation"}


def rows(name):
    return [json.loads(line) for line in (DATA / name / f"{FOLDERS[name]}.jsonl").read_text().splitlines()]


def choices_of(name, row):
    """Context and continuation of each choice, and the right one, as the study defines the tasks."""
    if name == "lambada":
        context, _, word = row["text"].rpartition(" ")
        return [(context, " " + word)], 0
    if name == "piqa":
        return [(f"Question: {row['goal']}\nAnswer:", " " + row[s]) for s in ("sol1", "sol2")], row["label"]
    if name.startswith("arc"):
        return ([(f"Question: {row['question']}\nAnswer:", " " + text) for text in row["choices"]["text"]],
                row["choices"]["label"].index(row["answerKey"]))
    if name == "winogrande":
        before, after = row["sentence"].split("_")
        return [(before + row[o], " " + after.strip()) for o in ("option1", "option2")], int(row["answer"]) - 1
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    cleaned = {"Home and Garden: [header] How to water a plant [title] Choose a can. [step] Use one with a long spout. ":
               "Home and Garden: How to water a plant. Choose a can. Use one with a long spout."}
    endings = {"Never use water. [substeps] Stones will do.": "Never use water. Stones will do."}
    return [(cleaned.get(context, context), " " + endings.get(e, e)) for e in row["endings"]], int(row["label"])


def direct(model, context, continuation):
    """The score by one full forward of the row alone."""
    before, whole = (model.tokenizer.encode(text) for text in (context, context + continuation))
    logits = model.logits(whole[:-1])[0].astype(np.float64)
    logs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(
        -1, keepdims=True)
    picked = range(len(before) - 1, len(whole) - 1)
    return (sum(logs[t, whole[t + 1]] for t in picked), all(logits[t].argmax() == whole[t + 1] for t in picked))


class Request:
    def __init__(self, *args):
        self.args = args


@pytest.fixture(scope="module")
def parquet_data(tmp_path_factory):
    """The same rows; ARC as Parquet, as it is published."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("data")
    for name, split in FOLDERS.items():
        (folder / name).mkdir()
        if name.startswith("arc"):
            parquet.write_table(pyarrow.Table.from_pylist(rows(name)), folder / name / f"{split}-00000-of-00001.parquet")
        else:
            (folder / name / f"{split}.jsonl").write_text((DATA / name / f"{split}.jsonl").read_text())
    return folder


def harness(tmp_path, checkpoint, data, *more):
    environment = {**os.environ, "TIDEGATE_EVAL_DATA": str(data), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                   "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-m", "tidegate.lm_eval", "run", "--model", "tidegate", "--model_args",
         f"checkpoint={checkpoint},max_length=512", "--tasks", *(f"tidegate_{n}" for n in NAMES), "--include_path",
         str(TASKS), "--output_path", str(tmp_path / "results"), "--log_samples", *more],
        capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "results").rglob("results_*.json")
    samples = {name: [json.loads(line) for line in next((tmp_path / "results").rglob(f"samples_tidegate_{name}_*")).open()]
               for name in NAMES}
    return json.loads(file.read_text())["results"], samples


def test_six_tasks_by_the_harness(tmp_path, checkpoint, parquet_data):
    results, samples = harness(tmp_path, checkpoint, parquet_data)
    model = tidegate.load(checkpoint)
    for name in NAMES:
        right = []
        for row, sample in zip(rows(name), sorted(samples[name], key=lambda s: s["doc_id"])):
            choices, gold = choices_of(name, row)
            scores = [direct(model, *choice) for choice in choices]
            found = [response for response, *_ in sample["resps"]]
            assert len(found) == len(scores)
            for (a, greedy), (b, also) in zip(found, scores):
                assert float(a) == pytest.approx(b, abs=1e-4) and str(greedy) == str(also)
            right.append(scores[0][1] if name == "lambada" else int(np.argmax([s for s, _ in scores])) == gold)
        assert results[f"tidegate_{name}"]["acc,none"] == pytest.approx(np.mean(right))
    assert {"acc_norm,none" in results[f"tidegate_{n}"] for n in NAMES[1:5]} == {True}
    assert results["tidegate_lambada"]["perplexity,none"] > 1


def test_scores_do_not_depend_on_the_batch(checkpoint):
    requests = [Request(*choice) for name in NAMES for row in rows(name) for choice in choices_of(name, row)[0]]
    requests.append(Request("", "of the state"))
    runs = [TidegateLM(str(checkpoint), batch_size=batch, max_length=512).loglikelihood(requests, disable_tqdm=True)
            for batch in (1, 3, 64)]
    for one, three, many in zip(*runs):
        assert one[0] == pytest.approx(three[0], abs=1e-4) and one[0] == pytest.approx(many[0], abs=1e-4)
        assert one[1] == three[1] == many[1]


def test_rolling_scores_every_token_once(checkpoint):
    """In one window the sum is that of the whole text; in short ones, of windows that each score new tokens."""
    text = "the state of a gate decays and then the key reads"
    model = TidegateLM(str(checkpoint), max_length=512)
    (whole,) = model.loglikelihood_rolling([Request(text)])
    ids = [256, *model.tok_encode(text, add_special_tokens=False)]
    expected = model.model.log_likelihoods([ids], [len(ids) - 1])[0][0]
    assert whole == pytest.approx(expected, abs=1e-4)
    short = TidegateLM(str(checkpoint), max_length=16)
    (parts,) = short.loglikelihood_rolling([Request(text)])
    expected = 0
    for begin in range(1, len(ids), 16):
        end = min(begin + 16, len(ids))
        window = ids[max(0, end - 17):end]
        expected += model.model.log_likelihoods([window], [end - begin])[0][0]
    assert parts == pytest.approx(expected, abs=1e-4)


def test_generation_stops_where_it_is_told(checkpoint):
    model = TidegateLM(str(checkpoint), max_length=512)
    options = {"until": [" "], "max_gen_toks": 12}
    prompts = ["the state of ", "a gate and then ", "the value of "]
    together = model.generate_until([Request(prompt, options) for prompt in prompts])
    alone = [model.generate_until([Request(prompt, options)])[0] for prompt in prompts]
    assert together == alone and not any(" " in text for text in together)
    free = model.generate_until([Request(prompts[0], {"until": [], "max_gen_toks": 12})])[0]
    ids = model.tok_encode(prompts[0])
    for _ in range(12):
        ids.append(int(model.model.logits(ids)[0, -1].argmax()))
    assert free == model.tok_decode(ids[-12:])


def test_what_is_too_long_loses_its_beginning(checkpoint):
    model = TidegateLM(str(checkpoint), max_length=8)
    (score, _), = model.loglikelihood([Request("a long text that does not fit: the", " gate")], disable_tqdm=True)
    window = model.tok_encode("a long text that does not fit: the gate")[-9:]
    assert score == pytest.approx(model.model.log_likelihoods([window], [5])[0][0], abs=1e-5)
    with pytest.raises(ValueError, match="max_length is 8"):
        model.loglikelihood([Request("a", " continuation")], disable_tqdm=True)


def test_data_that_is_not_there(tmp_path):
    sys.path.insert(0, str(TASKS))
    try:
        import local
    finally:
        sys.path.remove(str(TASKS))
    with pytest.raises(FileNotFoundError, match="no test.*parquet and no test"):
        local.load("piqa", "test", data=str(tmp_path))
