// Vercel's ai package, which runs the tools itself, with each provider package.
import { asked, load, parameters, tell } from "./load.mjs";

const { generateText, streamText, jsonSchema, stepCountIs, tool } = load("ai");
const { createOpenAI } = load("@ai-sdk/openai");
const { createAnthropic } = load("@ai-sdk/anthropic");
const { createOpenAICompatible } = load("@ai-sdk/openai-compatible");

const settings = { baseURL: asked.base_url, apiKey: "none", headers: asked.headers ?? {} };
const models = {
  chat: () => createOpenAI(settings).chat("scripted-1"),
  responses: () => createOpenAI(settings).responses("scripted-1"),
  compatible: () => createOpenAICompatible({ ...settings, name: "scripted" })("scripted-1"),
  messages: () => createAnthropic(settings)("scripted-1"),
};
const ran = [];
const [kind, how] = asked.way.split("-");

function options() {
  return {
    model: models[kind](),
    prompt: "Sun?",
    maxRetries: asked.retries ?? 0,
    stopWhen: stepCountIs(3),
    tools: {
      weather: tool({
        description: "The weather.",
        inputSchema: jsonSchema(parameters),
        execute: async ({ city }) => {
          ran.push(city);
          return `sun over ${city}`;
        },
      }),
    },
  };
}

async function generated() {
  const made = await generateText(options());
  return { ran, text: made.text, ending: made.finishReason };
}

async function streamed() {
  let failure;
  const made = streamText({ ...options(), onError: ({ error }) => (failure ??= error) });
  let text = "";
  for await (const piece of made.textStream) text += piece;
  if (failure) throw failure;
  return { ran, text, ending: await made.finishReason };
}

await tell({ [asked.way]: how === "stream" ? streamed : generated });
