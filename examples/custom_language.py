"""A custom language from scratch: a tokenizer and a GPT-2 learn Mirelle, which this file makes up.

    python examples/custom_language.py

Mirelle has a grammar that a program can check: a noun's ending says what it does in the sentence (-a acts, -en is acted
upon, -ul is where), adjectives take their noun's ending, the verb stands last and ends in -ri (now) or -vo (before). So the
model can be judged exactly: how many of the sentences that it writes are Mirelle? What is printed is shown in
docs/examples.md. For a language of yours, put its text in place of this one: textmill train --text FILE --out FOLDER.
"""

import argparse
import random
import re
import subprocess
import sys
from pathlib import Path

from textmill.ground.files import write_beside

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "custom_language.yaml"
OUT = HERE / ".textmill" / "mirelle"
TEXTMILL = (sys.executable, "-P", "-c", "from textmill.cli import main; main()")

NOUNS = [
    "talor",
    "mirel",
    "suven",
    "kadir",
    "pelun",
    "osmar",
    "nivel",
    "ruthan",
    "belis",
    "tharo",
    "venik",
    "galum",
    "sorel",
    "ladin",
    "mokar",
]
ADJECTIVES = ["brisk", "olvar", "tinel", "sumar", "relis", "dakun"]
VERBS = ["kel", "nam", "tor", "sil", "vud", "mar", "pen", "hal"]
ACTS, ACTED_UPON, WHERE = "a", "en", "ul"
SENTENCES = 12_000


def phrase(generator: random.Random, ending: str) -> str:
    """A noun, mostly with an adjective before it, both with one ending."""
    words = [generator.choice(ADJECTIVES)] * (generator.random() < 0.6) + [generator.choice(NOUNS)]
    return " ".join(word + ending for word in words)


def sentence(generator: random.Random) -> str:
    """Who, where (sometimes), whom, then what they do."""
    where = [phrase(generator, WHERE)] * (generator.random() < 0.5)
    parts = [phrase(generator, ACTS), *where, phrase(generator, ACTED_UPON)]
    return " ".join(parts).capitalize() + f" {generator.choice(VERBS)}{generator.choice(['ri', 'vo'])}."


def _pattern() -> re.Pattern[str]:
    def phrase_of(ending: str) -> str:
        return f"(?:(?:{'|'.join(ADJECTIVES)}){ending} )?(?:{'|'.join(NOUNS)}){ending}"

    who, where, whom = (phrase_of(ending) for ending in (ACTS, WHERE, ACTED_UPON))
    return re.compile(f"{who}(?: {where})? {whom} (?:{'|'.join(VERBS)})(?:ri|vo)[.]")


GRAMMAR = _pattern()


def share_right(text: str) -> tuple[int, int]:
    """How many of a text's whole sentences are Mirelle, and how many there are."""
    sentences = [each + "." for each in " ".join(text.split()).lower().split(". ")[1:-1]]
    return sum(GRAMMAR.fullmatch(each.replace("..", ".")) is not None for each in sentences), len(sentences)


def write_corpus(file: Path) -> None:
    """Write a text in Mirelle, the same each time."""
    generator = random.Random(7)
    lines = [" ".join(sentence(generator) for _ in range(6)) for _ in range(SENTENCES // 6)]
    write_beside(file, "\n".join(lines) + "\n")


def main() -> int:
    """Write the corpus, train, and judge what the model writes."""
    parser = argparse.ArgumentParser(description="Learn a made-up language from scratch.")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the text and the model")
    parser.add_argument("--steps", type=int, default=400, help="steps of training")
    asked = parser.parse_args()
    text = asked.out / "input.txt"
    write_corpus(text)
    train = ["train", f"--config={CONFIG}", f"--text={text}", f"--out={asked.out}", f"--steps={asked.steps}"]
    if code := subprocess.run([*TEXTMILL, *train]).returncode:
        return code
    judge(asked.out / "model")
    return 0


def judge(model: Path) -> None:
    """Let the model write, and say how much of it is Mirelle."""
    from textmill.commands import generate

    beginning = sentence(random.Random(99))
    texts = [generate.write(model, beginning, 300, None, seed) for seed in range(5)]
    print(f"\n{texts[0][:400]}\n")
    right, whole = (sum(figures) for figures in zip(*(share_right(text) for text in texts), strict=True))
    print(f"{right} of {whole} sentences are Mirelle.")


if __name__ == "__main__":
    sys.exit(main())
