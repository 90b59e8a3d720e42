# SPDX-License-Identifier: Apache-2.0

"""Asks through the providers' own clients and prints what they make of the answers, one line of JSON each.

Arguments: the gateway's address, the token, then form names.
"""

import json
import sys

import anthropic
import openai

base, token, *forms = sys.argv[1:]
oai = openai.OpenAI(base_url=base + "/llm/openai/v1", api_key=token, max_retries=0)
ant = anthropic.Anthropic(base_url=base + "/llm/anthropic", api_key=token, max_retries=0)

CHAT = {"model": "m-1", "messages": [{"role": "user", "content": "Go on"}]}
RESP = {"model": "m-1", "input": "Go on"}
MSGS = {"model": "m-1", "max_tokens": 64, "messages": [{"role": "user", "content": "Go on"}]}


def of_chat(c):
    m = c.choices[0].message
    calls = [[k.id, k.function.name, json.loads(k.function.arguments)] for k in m.tool_calls or []]
    return {"text": m.content or "", "finish": c.choices[0].finish_reason, "calls": calls}


def of_response(r):
    text = "".join(p.text for i in r.output if i.type == "message" for p in i.content)
    calls = [[i.call_id, i.name, json.loads(i.arguments)] for i in r.output if i.type == "function_call"]
    return {"text": text, "finish": r.status, "calls": calls}


def of_message(m):
    text = "".join(b.text for b in m.content if b.type == "text")
    return {"text": text, "finish": m.stop_reason, "calls": [[b.id, b.name, b.input] for b in m.content if b.type == "tool_use"]}


def chat_stream():
    with oai.chat.completions.stream(**CHAT) as s:
        return of_chat(s.get_final_completion())


def responses_stream():
    with oai.responses.stream(**RESP) as s:
        return of_response(s.get_final_response())


def messages_stream():
    with ant.messages.stream(**MSGS) as s:
        return of_message(s.get_final_message())


ASK = {
    "chat": lambda: of_chat(oai.chat.completions.create(**CHAT)),
    "chat stream": chat_stream,
    "responses": lambda: of_response(oai.responses.create(**RESP)),
    "responses stream": responses_stream,
    "messages": lambda: of_message(ant.messages.create(**MSGS)),
    "messages stream": messages_stream,
    "feature chat": lambda: of_chat(oai.chat.completions.create(**CHAT, extra_body={"deny_me": 1})),
    "feature responses": lambda: of_response(oai.responses.create(**RESP, previous_response_id="deny_me")),
    "feature messages": lambda: of_message(ant.messages.create(**MSGS, extra_body={"deny_me": 1})),
}

for form in forms:
    try:
        line = ASK[form]()
    except (openai.APIError, anthropic.APIError) as e:
        line = {"error": type(e).__name__, "status": getattr(e, "status_code", 0)}
    print(json.dumps({"form": form, **line}))
