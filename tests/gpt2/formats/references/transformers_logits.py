"""What transformers' GPT2LMHeadModel makes of a directory that Textmill wrote, as JSON.

    .venv-peers/bin/python tests/gpt2/formats/references/transformers_logits.py DIRECTORY TOKENS.json > OUT.json

`transformers_logits.json` is its output for the model of tests/gpt2/formats/small_checkpoints.py; a test compares ours with
that file, and runs this script where `.venv-peers` has torch and transformers.
"""

import json
import sys
from pathlib import Path

import torch
import transformers


def main() -> None:
    directory, tokens = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    model = transformers.GPT2LMHeadModel.from_pretrained(directory).eval()
    own = transformers.AutoTokenizer.from_pretrained(directory)
    with torch.no_grad():
        logits = model(torch.tensor(tokens["tokens"])).logits
    encoded = own(tokens["text"])["input_ids"]
    found = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "end": own.eos_token_id,
        "text_tokens": encoded,
        "decoded": own.decode(encoded),
        "logits": [[[round(value, 6) for value in row] for row in rows] for rows in logits.tolist()],
    }
    if len(sys.argv) > 3:  # save it again as transformers itself would
        model.save_pretrained(sys.argv[3], max_shard_size=sys.argv[4])
        own.save_pretrained(sys.argv[3])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
