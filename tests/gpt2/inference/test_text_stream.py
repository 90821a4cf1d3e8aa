import pytest

from textmill.gpt2.document import topic_prompt, whole_sentences
from textmill.gpt2.inference.text_stream import TextStream
from textmill.gpt2.tokenizer import train_bpe

TEXT = "Über die naïve Mühle — 日本の水車 🙂🙃 turned\n\nround."


def decode(tokens: list[int]) -> str:
    """One token a byte: the hardest case."""
    return bytes(tokens).decode(errors="replace")


def test_no_piece_holds_half_a_character() -> None:
    stream = TextStream(decode)
    pieces = [stream.push(byte) for byte in TEXT.encode()]
    assert "".join(pieces) + stream.close() == TEXT
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_character_do_not_hold_the_text_back() -> None:
    stream = TextStream(decode)
    text = "".join(stream.push(byte) for byte in b"\xff" * 9 + b"mill")
    assert text.endswith("mill")


def test_half_a_character_at_the_end_is_dropped() -> None:
    stream = TextStream(decode)
    pieces = [stream.push(byte) for byte in "Mühle 日".encode()[:-1]]
    assert "".join(pieces) + stream.close() == "Mühle "


@pytest.mark.parametrize("stop", ["水車", "\n\n", "ro", "round.", "🙃 t"])
def test_text_ends_before_a_stop_string_that_comes_in_parts(stop: str) -> None:
    stream = TextStream(decode, (stop,))
    shown = ""
    for byte in TEXT.encode():
        shown += stream.push(byte)
        assert TEXT[: TEXT.index(stop)].startswith(shown)
    assert stream.stopped
    assert shown + stream.close() == TEXT[: TEXT.index(stop)]


def test_what_only_looked_like_a_stop_string_is_shown_after_all() -> None:
    stream = TextStream(decode, ("###", "wheelhouse"))
    pieces = [stream.push(byte) for byte in b"## a wheel"]
    assert "".join(pieces) + stream.close() == "## a wheel"
    assert not stream.stopped


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One ends. Two breaks o", "One ends."),
        ("It costs 3.5 marks. And th", "It costs 3.5 marks."),
        ("“Is it?” she asked. “No!” he", "“Is it?” she asked. “No!”"),
        ("Nothing ends here", "Nothing ends here"),
        ("All of it ends.", "All of it ends."),
        ("A paragraph.\n\nThe nex", "A paragraph."),
        ("水車は回る。川は", "水車は回る。"),
    ],
)
def test_an_article_at_its_limit_ends_with_a_whole_sentence(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept


def test_a_topic_becomes_the_tokens_that_training_saw() -> None:
    documents = ["The mill\n\nA wheel turns.", "A pond\n\nThe water stands."] * 20
    tokenizer = train_bpe(documents, 300)
    prompt = topic_prompt(tokenizer, "The mill")
    trained_on = [tokenizer.end, *tokenizer.encode("The mill\n\nA wheel turns.")]
    assert trained_on[: len(prompt)] == prompt
    assert tokenizer.decode(prompt[1:]) == "The mill\n\n"
