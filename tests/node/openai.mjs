// The openai package, in every way in which it hands a program tool calls.
import { asked, load, parameters, tell } from "./load.mjs";

const { OpenAI } = load("openai");
const { zodResponseFormat } = load("openai/helpers/zod");
const { z } = load("zod");
const client = new OpenAI({
  baseURL: asked.base_url,
  apiKey: "none",
  maxRetries: asked.retries ?? 0,
  defaultHeaders: asked.headers ?? {},
});
const chat = {
  model: "scripted-1",
  messages: asked.messages ?? [{ role: "user", content: "Sun?" }],
  tools: [{ type: "function", function: { name: "weather", parameters } }],
};
const response = {
  model: "scripted-1",
  input: "Sun?",
  tools: [{ type: "function", name: "weather", parameters, strict: false }],
};

function ofChat(completion) {
  const { message, finish_reason } = completion.choices[0];
  const calls = (message.tool_calls ?? []).map((call) =>
    call.type === "custom"
      ? [call.id, call.custom.name, call.custom.input]
      : [call.id, call.function.name, call.function.arguments],
  );
  if (message.function_call) {
    calls.push([null, message.function_call.name, message.function_call.arguments]);
  }
  return {
    calls,
    refusals: message.refusal ? message.refusal.split("\n") : [],
    text: message.content ?? "",
    ending: finish_reason,
    choices: completion.choices.length,
  };
}

function ofResponse(made) {
  const seen = { calls: [], refusals: [], text: "", ending: made.status };
  for (const item of made.output) {
    if (item.type === "function_call") seen.calls.push([item.call_id, item.name, item.arguments]);
    if (item.type === "custom_tool_call") seen.calls.push([item.call_id, item.name, item.input]);
    for (const part of item.type === "message" ? item.content : []) {
      if (part.type === "refusal") seen.refusals.push(part.refusal);
      else seen.text += part.text;
    }
  }
  return seen;
}

async function chunks() {
  const calls = [];
  let [text, refusal, ending] = ["", "", null];
  for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      refusal += choice.delta.refusal ?? "";
      for (const call of choice.delta.tool_calls ?? []) {
        calls[call.index] ??= [call.id, "", ""];
        const inner = call.function ?? { ...call.custom, arguments: call.custom.input };
        calls[call.index][1] += inner.name ?? "";
        calls[call.index][2] += inner.arguments ?? "";
      }
      ending = choice.finish_reason ?? ending;
    }
  }
  return { calls, refusals: refusal ? refusal.split("\n") : [], text, ending };
}

async function events() {
  let last;
  for await (const event of await client.responses.create({ ...response, stream: true })) {
    last = event.response ?? last;
    if (event.type === "error") throw Object.assign(new Error(event.message), event);
  }
  return ofResponse(last);
}

async function runTools() {
  const ran = [];
  const weather = {
    name: "weather",
    parameters,
    parse: JSON.parse,
    function: ({ city }) => {
      ran.push(city);
      return `sun over ${city}`;
    },
  };
  const runner = client.chat.completions.runTools({
    ...chat,
    tools: [{ type: "function", function: weather }],
  });
  return { ran, text: (await runner.finalContent()) ?? "" };
}

await tell({
  chat: async () => ofChat(await client.chat.completions.create(chat)),
  "chat-parse": async () =>
    ofChat(
      await client.chat.completions.parse({
        ...chat,
        tools: undefined,
        response_format: zodResponseFormat(z.object({ city: z.string() }), "city"),
      }),
    ),
  "chat-chunks": chunks,
  "chat-stream": async () =>
    ofChat(await client.chat.completions.stream(chat).finalChatCompletion()),
  "chat-run-tools": runTools,
  responses: async () => ofResponse(await client.responses.create(response)),
  "responses-events": events,
  "responses-stream": async () => ofResponse(await client.responses.stream(response).finalResponse()),
  models: async () => ({ models: (await client.models.list()).data.map((model) => model.id) }),
});
