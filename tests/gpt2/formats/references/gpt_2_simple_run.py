"""gpt-2-simple itself, on small models: makes a checkpoint and a run, and reads a run that Textmill wrote.

    python gpt_2_simple_run.py FOLDER

FOLDER has `models/small` with hparams.json, encoder.json and vocab.bpe, `text.txt` to train on, `checkpoint/ours`, and
`tokens.json`. Random weights are saved there as OpenAI's are, `checkpoint/run1` is trained from them for two steps, and
the logits of all three are written to `logits.npz`.
"""

import json
import os
import sys
from typing import Any

import gpt_2_simple
import numpy as np
import tensorflow as tf
from gpt_2_simple.src import model as simple


def hparams(folder: str) -> Any:
    found = simple.default_hparams()
    with open(f"{folder}/hparams.json", encoding="utf-8") as file:  # noqa: PTH123
        found.override_from_dict(json.load(file))
    return found


def save_random(folder: str) -> None:
    """Save random weights, biases and norms too, in the way of OpenAI's checkpoints."""
    session = gpt_2_simple.start_tf_sess()
    simple.model(hparams(folder), X=tf.compat.v1.placeholder(tf.int32, [1, None]))
    session.run(tf.compat.v1.global_variables_initializer())
    generator = np.random.default_rng(3)
    for variable in tf.compat.v1.trainable_variables():
        variable.load(generator.normal(0, 0.1, variable.shape).astype(np.float32), session)
    tf.compat.v1.train.Saver().save(session, f"{folder}/model.ckpt")
    gpt_2_simple.reset_session(session).close()


def logits(folder: str, tokens: list[list[int]]) -> np.ndarray:
    parent, name = os.path.split(folder)
    session = gpt_2_simple.start_tf_sess()
    gpt_2_simple.load_gpt2(session, run_name=name, checkpoint_dir=parent)
    context = tf.compat.v1.placeholder(tf.int32, [len(tokens), None])
    output = simple.model(hparams(folder), X=context, reuse=True)["logits"]
    found: np.ndarray = session.run(output, {context: tokens})
    if parent == "checkpoint":
        options = {"run_name": name, "length": 12, "prefix": "The mill", "return_as_list": True, "seed": 1}
        texts = gpt_2_simple.generate(session, **options)
        assert texts[0], texts
    gpt_2_simple.reset_session(session).close()
    return found


def main() -> None:
    os.chdir(sys.argv[1])
    with open("tokens.json", encoding="utf-8") as file:  # noqa: PTH123
        tokens = json.load(file)
    save_random("models/small")
    session = gpt_2_simple.start_tf_sess()
    gpt_2_simple.finetune(
        session, "text.txt", 2, "small", accumulate_gradients=1, sample_length=8, run_name="run1", learning_rate=0.01
    )
    gpt_2_simple.reset_session(session).close()
    folders = ("models/small", "checkpoint/run1", "checkpoint/ours")
    np.savez("logits.npz", **{folder.replace("/", "-"): logits(folder, tokens) for folder in folders})


if __name__ == "__main__":
    main()
