"""Contestant: texts written greedily by Hugging Face's GPT2LMHeadModel.generate."""

import time

import torch
from contestant import arguments, peak_memory, serve
from transformers import GPT2Config, GPT2LMHeadModel

asked = arguments()


def main() -> None:
    size = asked["model"]
    device = asked["device"]
    configuration = GPT2Config(
        vocab_size=size["vocabulary"],
        n_positions=size["window"],
        n_layer=size["layers"],
        n_head=size["heads"],
        n_embd=size["width"],
    )
    model = GPT2LMHeadModel(configuration).to(device, torch.bfloat16 if device == "cuda" else torch.float32).eval()

    def write(batch: int, prompt: int, tokens: int) -> float:
        torch.manual_seed(batch)
        prompts = torch.randint(0, size["vocabulary"], (batch, prompt), device=device)
        start = time.perf_counter()
        given = {"min_new_tokens": tokens, "max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
        with torch.no_grad():
            model.generate(prompts, attention_mask=torch.ones_like(prompts), **given)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    serve({"write": write, "memory": peak_memory})


if __name__ == "__main__":
    main()
