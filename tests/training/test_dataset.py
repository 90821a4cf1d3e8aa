from pathlib import Path

import numpy as np
import pytest

from textmill.corpus import tfrecords
from textmill.ground.errors import TextmillError, UserError
from textmill.training.dataset import Batches, TokenStream, held_out_batches


def write_windows(path: Path, tokens: list[int], window: int) -> Path:
    windows = [tokens[start : start + window] for start in range(0, len(tokens), window)]
    path.write_bytes(b"".join(tfrecords.frame(tfrecords.encode_example({"tokens": each})) for each in windows))
    return path


def stream_of(folder: Path, count: int, vocabulary: int = 1000) -> TokenStream:
    file = write_windows(folder / f"{count}.tfrecord", [n % vocabulary for n in range(count)], 8)
    return TokenStream.pack([file], vocabulary, folder / "stream")


def test_windows_of_several_files_become_one_stream(tmp_path: Path) -> None:
    files = [
        write_windows(tmp_path / "a", list(range(20)), 8),
        write_windows(tmp_path / "b", list(range(500, 510)), 8),
    ]
    stream = TokenStream.pack(files, 1000, tmp_path / "stream")
    assert stream.tokens.tolist() == [*range(20), *range(500, 510)]
    assert stream.tokens.dtype == np.uint16
    assert [p.name for p in (tmp_path / "stream").iterdir()] == [f"{stream.digest[:16]}.uint16"]


def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path: Path) -> None:
    file = write_windows(tmp_path / "a", [70_000, 1], 8)
    stream = TokenStream.pack([file], 70_001, tmp_path / "stream")
    assert stream.tokens.dtype == np.uint32
    assert stream.tokens.tolist() == [70_000, 1]


def test_an_unchanged_stream_is_used_again_and_a_changed_one_is_not(tmp_path: Path) -> None:
    first = stream_of(tmp_path, 50)
    (file,) = (tmp_path / "stream").iterdir()
    written = file.stat().st_mtime_ns
    assert stream_of(tmp_path, 50).digest == first.digest
    assert file.stat().st_mtime_ns == written
    assert stream_of(tmp_path, 51).digest != first.digest


def test_a_token_outside_the_vocabulary_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    file = write_windows(tmp_path / "a", [1, 2, 10], 8)
    with pytest.raises(TextmillError, match="token 10, but the vocabulary has only 10 tokens"):
        TokenStream.pack([file], 10, tmp_path / "stream")
    assert list((tmp_path / "stream").iterdir()) == []


def test_an_epoch_reads_every_window_once_with_the_next_tokens_as_targets(tmp_path: Path) -> None:
    stream, window = stream_of(tmp_path, 100, 100), 8
    batches = Batches(stream, 1, window, seed=3)
    offsets = set()
    for epoch in range(6):
        starts = []
        for step in range(epoch * batches.windows, (epoch + 1) * batches.windows):
            inputs, targets = batches.at(step)
            assert inputs.shape == targets.shape == (1, window)
            assert inputs.dtype == np.int32
            assert (targets == inputs + 1).all()
            starts.append(int(inputs[0, 0]))
        assert len(set(starts)) == batches.windows
        assert {start % window for start in starts} == {min(starts)}
        assert starts != sorted(starts)
        offsets.add(min(starts))
    assert len(offsets) > 1
    assert offsets <= set(range(window))


def test_a_step_is_the_same_whatever_was_read_before(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, 100)
    in_turn = Batches(stream, 5, 8, seed=1)
    steps = [in_turn.at(step) for step in range(12)]
    for step in (7, 0, 11, 3):
        fresh = Batches(stream, 5, 8, seed=1).at(step)
        assert all((a == b).all() for a, b in zip(steps[step], fresh, strict=True))
    other = Batches(stream, 5, 8, seed=2)
    assert any((other.at(step)[0] != steps[step][0]).any() for step in range(4))


@pytest.mark.parametrize("tokens", [9, 10, 15, 16, 17, 24])
def test_a_text_of_about_one_window_is_enough(tmp_path: Path, tokens: int) -> None:
    batches = Batches(stream_of(tmp_path, tokens), 4, 8, seed=0)
    for step in range(20):
        inputs, targets = batches.at(step)
        assert (targets == inputs + 1).all()


def test_a_text_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8 tokens, too few for a window of 8"):
        Batches(stream_of(tmp_path, 8), 4, 8, seed=0)


def test_held_out_batches_cover_every_target_once(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, 77)
    seen = []
    for inputs, targets, weights in held_out_batches(stream, 3, 8, at_most=100):
        assert inputs.shape == targets.shape == weights.shape == (3, 8)
        assert (targets[weights == 1] == inputs[weights == 1] + 1).all()
        seen += targets[weights == 1].tolist()
    assert seen == list(range(1, 77))


def test_of_much_held_out_text_an_even_share_is_read(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, 801)
    firsts = [int(inputs[0, 0]) for inputs, _, _ in held_out_batches(stream, 1, 8, at_most=4)]
    assert firsts == [0, 200, 400, 600]


def test_no_held_out_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.validation_percent"):
        list(held_out_batches(stream_of(tmp_path, 1), 1, 8, at_most=4))
