"""TFRecord files are the same whether payloads or whole records are written."""

from pathlib import Path

from textmill import records


def test_records_that_are_copied_as_they_stand_make_the_file_that_their_payloads_make(tmp_path: Path) -> None:
    payloads = [records.encode_example({"tokens": [number], "text": "水" * number}) for number in range(200)]
    for end in ("", ".gz"):
        with records.writing(tmp_path / f"payloads{end}") as write:
            for payload in payloads:
                write(payload)
        with records.writing_frames(tmp_path / f"records{end}") as write_frame:
            for payload in payloads:
                write_frame(records.frame(payload))
        assert (tmp_path / f"payloads{end}").read_bytes() == (tmp_path / f"records{end}").read_bytes()
        assert list(records.read_records(tmp_path / f"records{end}")) == payloads
