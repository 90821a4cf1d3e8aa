"""GPT-2: architecture, tokenizers, file formats and the verbatim index."""
