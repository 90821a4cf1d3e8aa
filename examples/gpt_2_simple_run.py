"""gpt-2-simple itself makes a run: it trains a small GPT-2 from random weights on the example site's articles.

    python examples/gpt_2_simple_run.py RUN

writes models/small and checkpoint/RUN into the folder in which it is started. A process of its own: gpt-2-simple turns
TensorFlow 2's way of computing off.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gpt_2_simple

from textmill.gpt2 import tokenizer, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import checkpoint

ARTICLES = Path(__file__).resolve().parent / "site" / "articles"
STEPS = 60


def main() -> None:
    """Write the model to start from, then train it."""
    articles = [file.read_text(encoding="utf-8").split("---\n", 2)[2] for file in sorted(ARTICLES.glob("*.md"))]
    Path("text.txt").write_text("<|endoftext|>".join(articles), encoding="utf-8")
    own = tokenizer.train_bpe(articles, 1024)  # OpenAI's own has 50,257 tokens, too many for a small model
    small = Architecture(own.vocabulary, window=1024, layers=2, heads=2, width=64)
    if not Path("models/small").exists():
        checkpoint.write_gpt_2_simple(Path("models/small"), weights.initial(small), small, own)
    session = gpt_2_simple.start_tf_sess()
    gpt_2_simple.finetune(
        session,
        "text.txt",
        steps=STEPS,
        model_name="small",
        run_name=sys.argv[1],
        accumulate_gradients=1,
        learning_rate=0.003,
        sample_length=20,
        print_every=20,
    )


if __name__ == "__main__":
    main()
