// The @anthropic-ai/sdk package.
import { asked, load, parameters, tell } from "./load.mjs";

const { Anthropic } = load("@anthropic-ai/sdk");
const client = new Anthropic({
  baseURL: asked.base_url,
  apiKey: "none",
  maxRetries: asked.retries ?? 0,
  defaultHeaders: asked.headers ?? {},
});
const message = {
  model: "scripted-1",
  max_tokens: 100,
  messages: asked.messages ?? [{ role: "user", content: "Sun?" }],
  tools: [{ name: "weather", input_schema: parameters }],
};

function of(made) {
  const calls = [];
  let text = "";
  for (const block of made.content) {
    if (block.type === "tool_use") calls.push([block.id, block.name, block.input]);
    if (block.type === "text") text += block.text;
  }
  return { calls, text, ending: made.stop_reason };
}

async function events() {
  const blocks = [];
  let ending = null;
  for await (const event of await client.messages.create({ ...message, stream: true })) {
    if (event.type === "content_block_start") {
      blocks[event.index] = { ...event.content_block, json: "" };
    } else if (event.type === "content_block_delta") {
      blocks[event.index].json += event.delta.partial_json ?? "";
      blocks[event.index].text += event.delta.text ?? "";
    } else if (event.type === "message_delta") {
      ending = event.delta.stop_reason;
    }
  }
  for (const block of blocks) if (block.json) block.input = JSON.parse(block.json);
  return of({ content: blocks, stop_reason: ending });
}

async function runTools() {
  const ran = [];
  const runner = client.beta.messages.toolRunner({
    ...message,
    tools: [
      {
        name: "weather",
        input_schema: parameters,
        parse: (input) => input,
        run: ({ city }) => {
          ran.push(city);
          return `sun over ${city}`;
        },
      },
    ],
  });
  const last = await runner.runUntilDone();
  return { ran, text: of(last).text };
}

await tell({
  messages: async () => of(await client.messages.create(message)),
  "messages-events": events,
  "messages-stream": async () => of(await client.messages.stream(message).finalMessage()),
  "messages-run-tools": runTools,
});
