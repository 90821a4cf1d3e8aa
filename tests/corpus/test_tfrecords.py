"""TFRecord files: the same whether payloads or whole records are written, checked as they are read."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from textmill.corpus import tfrecords
from textmill.ground.errors import TextmillError


def test_records_that_are_copied_as_they_stand_make_the_file_that_their_payloads_make(tmp_path: Path) -> None:
    payloads = [tfrecords.encode_example({"tokens": [number], "text": "水" * number}) for number in range(200)]
    for end in ("", ".gz"):
        with tfrecords.writing(tmp_path / f"payloads{end}") as write:
            for payload in payloads:
                write(payload)
        with tfrecords.writing_frames(tmp_path / f"records{end}") as write_frame:
            for payload in payloads:
                write_frame(tfrecords.frame(payload))
        assert (tmp_path / f"payloads{end}").read_bytes() == (tmp_path / f"records{end}").read_bytes()
        assert list(tfrecords.read_records(tmp_path / f"records{end}")) == payloads


@given(some.lists(some.integers(-(2**63), 2**63 - 1) | some.integers(0, 50_000)))
def test_integers_are_written_as_the_message_class_writes_them(integers: list[int]) -> None:
    written = tfrecords.encode_integers("tokens", np.array(integers, np.int64))
    assert written == tfrecords.encode_example({"tokens": integers})
    assert tfrecords.int_feature(written, "tokens") == integers


@pytest.mark.parametrize(
    "spoil", [lambda file: file[:-20], lambda file: file[:40] + bytes(40) + file[80:], lambda _: b"no gzip"]
)
def test_a_spoilt_compressed_file_is_named(tmp_path: Path, spoil) -> None:
    file = tmp_path / "records.gz"
    with tfrecords.writing(file) as write:
        for number in range(50):
            write(bytes(range(number, number + 100)))
    assert len(gzip.decompress(file.read_bytes())) == 50 * 116
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(TextmillError, match=r"records\.gz is damaged at byte"):
        list(tfrecords.read_records(file))
