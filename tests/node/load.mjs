// The packages are wherever GUARDRAIL_NODE says; each script reads what to ask as its argument, and
// prints what the program saw as one line of JSON.
import { createRequire } from "node:module";
import path from "node:path";

export const load = createRequire(path.join(process.env.GUARDRAIL_NODE, "package.json"));

export const asked = JSON.parse(process.argv[2]);

export const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
};

export async function tell(ways) {
  let seen;
  try {
    seen = await ways[asked.way]();
  } catch (error) {
    const { name, status, statusCode, message, code, type } = error.lastError ?? error;
    seen = { error: { name, status: status ?? statusCode ?? null, message, code, type } };
  }
  console.log(JSON.stringify(seen));
}
