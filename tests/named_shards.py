"""Facts for folders that a test has filled itself, as the steps write them."""

import json
from pathlib import Path

from textmill.corpus import tfrecords
from textmill.corpus.shards import FACTS_FILE, Shard, listing


def name_shards(artifact: Path) -> Path:
    """Name every file of an artifact's splits in its facts, beside what stands there."""
    file = artifact / FACTS_FILE
    facts = json.loads(file.read_text("utf-8")) if file.exists() else {}
    facts["shards"] = {
        split.name.removeprefix("Split-"): listing(
            Shard.written(path, sum(1 for _ in tfrecords.read_records(path))) for path in split.iterdir()
        )
        for split in artifact.glob("Split-*")
    }
    file.write_text(json.dumps(facts), "utf-8")
    return artifact
