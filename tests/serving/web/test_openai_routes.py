"""OpenAI's own client against a server of ours."""

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from server_processes import Server

from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def test_the_official_client_gets_a_completion_with_its_usage(client: openai.OpenAI, model: bundle.Path) -> None:
    answer = client.completions.create(model="tiny", prompt="abc", max_tokens=10, seed=4, temperature=0.7)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer.model == "tiny"
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "length")
    assert len(choice.text) == 10
    assert answer.usage and answer.usage.prompt_tokens == 3
    assert answer.usage.completion_tokens == 10
    assert answer.usage.total_tokens == 13
    provenance = answer.model_extra["textmill"]
    assert provenance["model"]["checksum"] == bundle.verify(model)
    assert (provenance["seed"], provenance["settings"]["temperature"]) == (4, 0.7)


def test_the_same_seed_gives_the_same_text_streamed_or_not(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "abc", "max_tokens": 30, "seed": 9}
    whole = client.completions.create(**asked).choices[0].text
    assert whole == client.completions.create(**asked).choices[0].text
    assert whole == "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True))
    assert whole != client.completions.create(**{**asked, "seed": 10}).choices[0].text


def test_a_stream_ends_with_a_reason_the_usage_and_done(server: Server, client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "abc", "max_tokens": 6, "seed": 3, "stream": True}
    chunks = list(client.completions.create(**asked, stream_options={"include_usage": True}))
    *texts, usage = chunks
    assert [chunk.choices[0].finish_reason for chunk in texts] == [None] * (len(texts) - 1) + ["length"]
    assert usage.choices == []
    assert usage.usage and usage.usage.completion_tokens == 6
    raw = server.post("/v1/completions", json=asked)
    assert raw.headers["content-type"].startswith("text/event-stream")
    blocks = raw.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(block.removeprefix("data: ")) for block in blocks[:-2])


def test_several_prompts_and_several_texts_of_each(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt=["abc", "de"], n=2, max_tokens=5, seed=1, echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text[:2] for choice in answer.choices] == ["ab", "ab", "de", "de"]
    assert len({choice.text for choice in answer.choices}) == 4
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 20)
    streamed = ["", "", "", ""]
    asked = {"model": "tiny", "prompt": ["abc", "de"], "n": 2, "max_tokens": 5, "seed": 1, "echo": True}
    for chunk in client.completions.create(**asked, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in answer.choices]


def test_the_official_client_gets_logprobs_streamed_or_not(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "abc", "max_tokens": 12, "seed": 4, "temperature": 1.5, "logprobs": 3}
    choice = client.completions.create(**asked).choices[0]
    found = choice.logprobs
    assert found and found.tokens and found.token_logprobs and found.top_logprobs and found.text_offset
    assert "".join(found.tokens) == choice.text
    assert found.text_offset == list(range(12))
    for token, logprob, likeliest in zip(found.tokens, found.token_logprobs, found.top_logprobs, strict=True):
        assert likeliest[token] == logprob <= max(likeliest.values())
        assert 3 <= len(likeliest) <= 4
    streamed = [chunk.choices[0].logprobs for chunk in client.completions.create(**asked, stream=True)]
    assert [token for each in streamed if each for token in each.tokens or []] == found.tokens
    assert [value for each in streamed if each for value in each.token_logprobs or []] == found.token_logprobs
    (only,) = client.completions.create(**{**asked, "logprobs": 0, "max_tokens": 1}).choices
    assert only.logprobs and only.logprobs.top_logprobs == [{found.tokens[0]: found.token_logprobs[0]}]
    assert client.completions.create(**{**asked, "logprobs": None}).choices[0].logprobs is None
    with pytest.raises(openai.BadRequestError, match="remove echo"):
        client.completions.create(**asked, echo=True)


def test_a_prompt_may_be_token_numbers_or_nothing(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "max_tokens": 5, "seed": 1}
    by_text = client.completions.create(**asked, prompt="c").choices[0].text
    found = [client.completions.create(**asked, prompt=[[token]]).choices[0].text for token in range(11)]
    assert by_text in found
    assert client.completions.create(**asked, prompt="").usage.prompt_tokens == 1  # type: ignore[union-attr]


def test_stop_strings_and_vllms_fields_are_honoured(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "abc", "max_tokens": 60, "seed": 2}
    stopped = client.completions.create(**asked, stop=["."]).choices[0]
    assert stopped.finish_reason == "stop"
    assert "." not in stopped.text
    greedy = client.completions.create(**asked, temperature=0).choices[0].text
    assert greedy == client.completions.create(**asked, extra_body={"top_k": 1}).choices[0].text
    assert (
        greedy
        != client.completions.create(**asked, temperature=0, extra_body={"repetition_penalty": 2.0}).choices[0].text
    )


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    (listed,) = client.models.list().data
    assert (listed.id, listed.object, listed.owned_by) == ("tiny", "model", "textmill")
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "prompt": "abc"}
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(**{**asked, "model": "gpt-5"})
    assert unknown.value.code == "model_not_found"
    for wrong in ({"temperature": 3}, {"frequency_penalty": 3}, {"suffix": "x"}, {"max_tokens": 10_000}, {"n": 9}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**asked, **wrong)
        assert refused.value.type == "invalid_request_error"
        assert refused.value.param == next(iter(wrong))
    with pytest.raises(openai.BadRequestError, match="at most 63"):
        client.completions.create(**{**asked, "prompt": "a" * 64})
    with pytest.raises(openai.BadRequestError, match="token 5000"):
        client.completions.create(**{**asked, "prompt": [5000]})
    with pytest.raises(openai.BadRequestError, match="not a field"):
        client.completions.create(**asked, extra_body={"temprature": 1})


def test_null_and_edge_values_behave_as_with_openais_api(server: Server, client: openai.OpenAI) -> None:
    def ask(**fields: object) -> dict[str, Any]:
        answer = server.post("/v1/completions", json={"model": "tiny", "prompt": "abc", "seed": 3, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def text(**fields: object) -> str:
        return str(ask(**fields)["choices"][0]["text"])

    assert text(prompt=None) == text(prompt="")
    assert ask(max_tokens=None)["usage"]["completion_tokens"] <= 16
    assert text(suffix="") == text(suffix=None) == text()
    assert text(top_p=0) == text(temperature=0)
    assert text(seed=-1) == text(seed=-1) != text(seed=1)
    assert ask(seed=-1)["textmill"]["seed"] == 2**53 - 1


def test_up_to_64_prompts_are_one_request(server: Server, client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "max_tokens": 2, "seed": 1, "temperature": 0}
    answer = client.completions.create(**asked, prompt=["abc", "de"] * 32)
    assert len({choice.text for choice in answer.choices[::2]}) == 1
    assert [choice.index for choice in answer.choices] == list(range(64))
    for wrong in ({"prompt": ["a"] * 65}, {"prompt": ["a"] * 33, "n": 2}):
        with pytest.raises(openai.BadRequestError, match="64") as refused:
            client.completions.create(**{**asked, **wrong})
        assert refused.value.param == "prompt"


def test_penalties_bias_and_the_end_token_change_what_is_drawn(server: Server, model: bundle.Path) -> None:
    tokenizer = Tokenizer.load(model / bundle.TOKENIZER)

    def ask(**fields: object) -> dict[str, Any]:
        body = {"prompt": "abc", "seed": 3, "max_tokens": 30, "temperature": 0, **fields}
        answer = server.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def text(**fields: object) -> str:
        return str(ask(**fields)["choices"][0]["text"])

    (token,) = tokenizer.encode("d")
    assert text(logit_bias={str(token): 100}) == "d" * 30
    assert "d" not in text(logit_bias={str(token): -100}, temperature=2)
    plain, unlike = text(), text(frequency_penalty=2)
    assert max(map(unlike.count, unlike)) < max(map(plain.count, plain))
    assert len(set(text(presence_penalty=2))) >= len(set(plain))
    assert text(min_p=1, temperature=1) == plain  # the likeliest token alone is left
    ends = {str(tokenizer.end): 100}
    assert ask(logit_bias=ends)["usage"]["completion_tokens"] == 1
    assert ask(logit_bias=ends, min_tokens=7)["usage"]["completion_tokens"] == 8
    assert ask(logit_bias=ends, ignore_eos=True)["usage"]["completion_tokens"] == 30
    assert ask(min_p=0.25)["textmill"]["settings"]["min_p"] == 0.25
    for wrong, param in (({"logit_bias": {"999": 1}}, "logit_bias"), ({"min_tokens": 31}, "min_tokens")):
        refused = server.post("/v1/completions", json={"prompt": "a", "max_tokens": 30, **wrong})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_chat_writes_an_article_on_the_users_last_message(server: Server, client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "seed": 3, "max_tokens": 20}
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "xyz"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": [{"type": "text", "text": "abc\n"}]},
    ]
    answer = client.chat.completions.create(**asked, messages=messages)  # type: ignore[call-overload]
    assert (answer.object, answer.id[:9], answer.model) == ("chat.completion", "chatcmpl-", "tiny")
    (choice,) = answer.choices
    article = server.post("/v1/articles", json={"topic": "abc", "seed": 3, "max_tokens": 20, "stream": True}).text
    pieces = re.findall(r'event: text\ndata: {"text": "(.*)"}', article)
    assert (choice.message.role, choice.message.content) == ("assistant", "".join(pieces))
    assert (choice.finish_reason, answer.usage.completion_tokens) == ("length", 20)
    chunks = list(
        client.chat.completions.create(  # type: ignore[call-overload]
            **asked, messages=messages, n=2, stream=True, stream_options={"include_usage": True}
        )
    )
    *texts, usage = chunks
    assert (usage.choices, usage.usage.completion_tokens) == ([], 40)
    first = [chunk.choices[0] for chunk in texts if chunk.choices[0].index == 0]
    assert (first[0].delta.role, first[-1].finish_reason) == ("assistant", "length")
    assert "".join(each.delta.content or "" for each in first) == choice.message.content


def test_chat_refuses_what_it_cannot_do(client: openai.OpenAI) -> None:
    right = {"model": "tiny", "messages": [{"role": "user", "content": "abc"}], "max_completion_tokens": 2}
    assert client.chat.completions.create(**right).usage.completion_tokens == 2  # type: ignore[call-overload]
    wrong: list[dict[str, object]] = [
        {"messages": [{"role": "system", "content": "abc"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logprobs": True},
        {"max_tokens": 10_000, "max_completion_tokens": None},
    ]
    for each in wrong:
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**right, **each})  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**right, "model": "gpt-5"})  # type: ignore[call-overload]
