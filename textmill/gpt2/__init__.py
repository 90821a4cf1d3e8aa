"""The language model: tokenizer, training, evaluation and the directory that serving loads."""
