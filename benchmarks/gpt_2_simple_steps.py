"""Contestant: gpt-2-simple's own graph, session and optimiser, as its `finetune` sets them up."""

from typing import Any

import numpy as np
import tensorflow as tf
from contestant import Tokens, Trainer, arguments

tf.compat.v1.disable_eager_execution()

from gpt_2_simple import start_tf_sess  # noqa: E402
from gpt_2_simple.src import model as gpt_2  # noqa: E402

asked = arguments()


class Gpt2Simple(Trainer):
    def begin(self, model: dict[str, Any], train: dict[str, Any]) -> None:
        sizes = gpt_2.default_hparams()
        sizes.override_from_dict(
            {
                "n_vocab": model["vocabulary"],
                "n_ctx": model["window"],
                "n_embd": model["width"],
                "n_head": model["heads"],
                "n_layer": model["layers"],
            }
        )
        self._session = start_tf_sess()
        self._tokens = tf.compat.v1.placeholder(tf.int32, [self.text.batch, None])
        logits = gpt_2.model(hparams=sizes, X=self._tokens)["logits"]
        self._loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self._tokens[:, 1:], logits=logits[:, :-1])
        )
        trained = [each for each in tf.compat.v1.trainable_variables() if "model" in each.name]
        optimiser = tf.compat.v1.train.AdamOptimizer(learning_rate=train["learning_rate"])
        gradients = tf.gradients(ys=self._loss, xs=trained)
        self._update = optimiser.apply_gradients(list(zip(gradients, trained, strict=True)))
        self._session.run(tf.compat.v1.global_variables_initializer())

    def step(self, number: int, inputs: Tokens, targets: Tokens) -> float:
        # a window's last token has no target there: one prediction in 256 fewer than the others make
        _, loss = self._session.run((self._update, self._loss), feed_dict={self._tokens: inputs})
        return float(np.float32(loss))


if __name__ == "__main__":
    Gpt2Simple(asked).serve()
