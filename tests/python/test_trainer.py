"""Trainer, Model, checkpoints: the same numbers as the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tidegate

from conftest import SMALL

STEPS = dict(steps=6, batch=2, seq=32, lr=3e-3, held_out_max=2048, log_every=1)


def command(*words):
    """The command line, as the console script runs it."""
    return subprocess.run([sys.executable, "-m", "tidegate", *map(str, words)], capture_output=True, text=True)


def command_line(options):
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def weights(run, examples):
    return tidegate.load(run).state_dict()


def test_trainer_equals_the_command_line(tmp_path, examples, text_file):
    program = examples / "gla/gla.tg"
    records = []
    result = tidegate.Trainer(program, params=SMALL, data=text_file, out=tmp_path / "a", **STEPS).train([records.append])
    done = command("train", program, *(f"--set={n}={v}" for n, v in SMALL.items()), f"--data={text_file}",
                   f"--out={tmp_path / 'b'}", *command_line(STEPS))
    assert done.returncode == 0, done.stderr
    other = json.loads(done.stdout.splitlines()[-1])
    for key in ("status", "step", "train_loss", "valid_loss", "parameters"):
        assert result[key] == other[key]
    a, b = weights(tmp_path / "a", examples), weights(tmp_path / "b", examples)
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)

    kinds = [record.get("event") or ("held_out" if "held_out_loss" in record else "step") for record in records]
    assert kinds == ["begin"] + ["step"] * 6 + ["held_out", "end"]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["loss"] == result["train_loss"] and steps[0]["lr"] > 0
    lines = [json.loads(line) for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    assert lines == records


def test_either_goes_on_from_the_other(tmp_path, examples, text_file):
    program = examples / "gla/gla.tg"
    whole = tidegate.Trainer(program, params=SMALL, data=text_file, out=tmp_path / "whole", **STEPS).train()
    # Begun here and stopped after step 3, ended by the command line.
    trainer = tidegate.Trainer(program, params=SMALL, data=text_file, out=tmp_path / "run", **STEPS)
    stopped = trainer.train([lambda record: record.get("step") != 3 or "loss" not in record])
    assert (stopped["status"], stopped["step"]) == ("interrupted", 3)
    assert trainer.load().step == 3
    done = command("train", program, *(f"--set={n}={v}" for n, v in SMALL.items()), f"--data={text_file}",
                   f"--out={tmp_path / 'run'}", "--resume=auto", *command_line({**STEPS}))
    assert json.loads(done.stdout.splitlines()[-1])["train_loss"] == whole["train_loss"]
    a, b = weights(tmp_path / "whole", examples), weights(tmp_path / "run", examples)
    assert all((a[name] == b[name]).all() for name in a)
    # And the other way round.
    command("train", program, *(f"--set={n}={v}" for n, v in SMALL.items()), f"--data={text_file}",
            f"--out={tmp_path / 'back'}", "--save-every=2", *command_line({**STEPS, "steps": 6}))
    again = tidegate.Trainer(program, params=SMALL, data=text_file, out=tmp_path / "back2",
                             resume=tmp_path / "back/step-4", **STEPS).train()
    assert again["train_loss"] == whole["train_loss"]


def test_what_a_callback_raises_ends_the_run_with_a_checkpoint(tmp_path, examples, text_file):
    trainer = tidegate.Trainer(examples / "gla/gla.tg", params=SMALL, data=text_file, out=tmp_path / "run", **STEPS)

    def fail(record):
        if record.get("step") == 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        trainer.train([fail])
    assert trainer.load().step == 2


def test_a_program_in_a_string_trains(tmp_path, text_file):
    text = """param D = 16
    model Bigram(ids: [T] int) -> [T, 259] { return linear(embedding(ids, 259, D), 259) as head }"""
    trainer = tidegate.Trainer(text, params={"D": 8}, data=text_file, out=tmp_path / "run", **STEPS)
    assert trainer.train()["status"] == "done"
    model = trainer.load()
    assert model.program.params == {"D": 8}
    assert model.logits([[1, 2, 3]]).shape == (1, 3, 259)


def test_options_are_checked(tmp_path, examples, text_file):
    trainer = tidegate.Trainer(examples / "gla/gla.tg", params=SMALL, data=text_file, out=tmp_path / "run")
    with pytest.raises(ValueError, match="unknown option '--stepz=3'; did you mean 'steps'"):
        trainer.train(stepz=3)
    with pytest.raises(ValueError, match="'--batch'"):
        trainer.train(batch=0)
    with pytest.raises(tidegate.CompileError, match="Z"):
        tidegate.Trainer(examples / "gla/gla.tg", params={"Z": 1}, data=text_file, out=tmp_path / "run").train()


def test_command_line_is_the_tools(examples):
    done = command("params", examples / "gla/gla.tg")
    assert done.returncode == 0 and "374471168" in done.stdout.replace(",", "")
    assert command("paramz").returncode == 2
    assert command("params", "nowhere.tg").returncode == 1


def test_model_steps_and_gradients(examples, rng):
    model = tidegate.compile(examples / "gla/gla.tg", params=SMALL, precision="f64").model(seed=1)
    ids = rng.integers(0, 259, (2, 17))
    x, y = ids[:, :-1], ids[:, 1:]
    loss = model.loss_and_gradients(x, y)
    assert loss == pytest.approx(model.loss(x, y)) and loss == pytest.approx(np.log(259), rel=0.05)
    # A step of the weights against the gradient lowers the loss as the gradient says.
    weight, gradient = model.state_dict()["lm_head.weight"], model.gradients()["lm_head.weight"].copy()
    weight -= 1e-4 * gradient
    assert model.loss(x, y) - loss == pytest.approx(-1e-4 * (gradient**2).sum(), rel=1e-2)
    losses = [model.train_step(x, y, step=step, lr=1e-2)["loss"] for step in range(1, 11)]
    assert losses[-1] < 0.8 * losses[0]


def test_scores_are_those_of_the_logits(examples, rng):
    model = tidegate.compile(examples / "gla/gla.tg", params=SMALL).model(seed=1)
    ids, labels = rng.integers(0, 259, (2, 37)), rng.integers(0, 259, (2, 37))
    logits = model.logits(ids).astype(np.float64)
    labels[:, ::3] = logits.argmax(-1)[:, ::3]
    labels[:, 1::3] = -100
    logs, likeliest = model.scores(ids, labels)
    assert (logs.shape, logs.dtype) == (ids.shape, np.float64) and (likeliest.shape, likeliest.dtype) == (ids.shape, bool)
    counts = labels >= 0
    top = logits.max(-1)
    want = np.take_along_axis(logits, np.where(counts, labels, 0)[..., None], -1)[..., 0] - top
    want -= np.log(np.exp(logits - top[..., None]).sum(-1))
    assert np.abs(logs - np.where(counts, want, 0)).max() < 1e-5
    assert (likeliest == (logits.argmax(-1) == labels)).all() and likeliest.any()
    (score, greedy), = model.log_likelihoods([[*ids[0], labels[0, -1]]], [1])
    assert score == pytest.approx(logs[0, -1], abs=1e-6) and greedy == likeliest[0, -1]
    with pytest.raises(ValueError, match="label 259 at row 0, position 1 is not in the vocabulary"):
        model.scores([[1, 2]], [[3, 259]])
    with pytest.raises(ValueError, match="labels: expected B x T integers, the same for all"):
        model.scores([[1, 2]], [[3]])


def test_state_dict_is_the_models_memory(examples):
    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL)
    model, other = program.model(seed=1), program.model(seed=2)
    ids = [[1, 2, 3, 4]]
    assert not (model.logits(ids) == other.logits(ids)).all()
    other.load_state_dict(model.state_dict())
    assert (model.logits(ids) == other.logits(ids)).all()
    with pytest.raises(ValueError, match="missing weights: .'lm_head.weight'"):
        other.load_state_dict({n: w for n, w in model.state_dict().items() if n != "lm_head.weight"})
    with pytest.raises(ValueError, match="expected B x T integers"):
        model.logits([0.5])


def test_decoding_equals_the_full_forward(checkpoint):
    model = tidegate.load(checkpoint)
    ids = np.frombuffer(b"the state of a gate decays", np.uint8).astype(np.int32)
    decoder = model.decoder()
    decoder.feed(ids[:10])
    last = decoder.feed(ids[10:])
    assert np.abs(last[0] - model.logits(ids)[0, -1]).max() < 1e-4
    greedy = list(model.generate(list(ids), 5, temperature=0))
    seen = list(ids)
    for token in greedy:
        assert token == model.logits(seen)[0, -1].argmax()
        seen.append(token)


def test_perplexity_is_the_commands(checkpoint, text_file, tmp_path):
    part = tmp_path / "part.txt"
    part.write_bytes(text_file.read_bytes()[:5000])
    done = command("eval", checkpoint, f"--data={part}", "--seq=64")
    expected = json.loads(done.stdout.splitlines()[-1])["perplexity"]
    model = tidegate.load(checkpoint)
    assert model.perplexity(model.tokenizer.encode(part.read_text()), seq=64) == pytest.approx(expected, rel=1e-6)


def test_checkpoints_that_are_not_there(tmp_path):
    with pytest.raises(tidegate.NotFoundError, match="nothing"):
        tidegate.load(tmp_path / "nothing")
