"""A model's API for benches: as little work as possible for each answer, on one event loop.

The request's model says which answer: ``whole:call``, ``whole:text``, or ``stream:CHUNKS:SECONDS``
with that pause before each chunk; a stream ends with a call. Prints its base URL.
"""

from __future__ import annotations

import asyncio
import itertools
import json

NUMBERS = itertools.count()
ARGUMENTS = json.dumps({"city": "Bern", "days": 3, "note": "x" * 120})


def completion(kind: str) -> bytes:
    """Return an answer with a call, or with the same text and no call."""
    function = {"name": "weather", "arguments": ARGUMENTS}
    call = {"id": f"call_{next(NUMBERS)}", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    if kind == "text":
        message = {"role": "assistant", "content": json.dumps(call), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    head = {"id": f"chatcmpl-{next(NUMBERS)}", "object": "chat.completion", "created": 1}
    return json.dumps({**head, "model": "m", "choices": [choice]}).encode()


def event(delta: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    data = f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


TEXT = event({"content": " and so on"})
END = event({}, "tool_calls")
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


async def stream(writer: asyncio.StreamWriter, chunks: int, pause: float) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(chunks):
        if pause:
            await asyncio.sleep(pause)
        writer.write(TEXT)
        await writer.drain()
    function = {"name": "weather", "arguments": ARGUMENTS}
    call = {"index": 0, "id": f"call_{next(NUMBERS)}", "type": "function", "function": function}
    writer.write(event({"tool_calls": [call]}) + END + DONE)
    await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            kind, *more = json.loads(await reader.readexactly(size))["model"].split(":")
            if kind == "stream":
                await stream(writer, int(more[0]), float(more[1]))
                continue
            body = completion(more[0])
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


asyncio.run(main())
