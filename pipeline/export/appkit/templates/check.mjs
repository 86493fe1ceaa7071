/** Are the golden vectors what functiongemma.mjs gives? `node check.mjs ../vectors.json`; a page can import `check` as well. */

import { parse, renderPrompt } from "./functiongemma.mjs";

/** The names of the vectors that are not reproduced. JavaScript has one kind of number, so 2 and 2.0 are the same here. */
export function check(golden) {
  return golden.vectors.filter((vector) => !isReproduced(vector, golden.declarations)).map((vector) => vector.name);
}

function isReproduced(vector, declarations) {
  const { text, calls, errors } = parse(vector.reply);
  const wanted = vector.errors.map((error) => ({ code: error.code, at: error.at_utf16 }));
  const found = errors.map(({ code, at }) => ({ code, at }));
  const prompt = !("request" in vector) || renderPrompt(vector.request, vector.developer, declarations) === vector.prompt;
  return text === vector.text && same(calls, vector.calls) && same(found, wanted) && prompt;
}

function same(a, b) {
  if (typeof a === "bigint") return Number(a) === b; // JSON.parse has rounded the expected one
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return Object.is(a, b) || (a === 0 && b === 0);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

if (typeof process !== "undefined" && process.argv?.[2]) {
  const { readFileSync } = await import("node:fs");
  const golden = JSON.parse(readFileSync(process.argv[2], "utf-8"));
  const failed = check(golden);
  console.log([`${golden.vectors.length - failed.length} of ${golden.vectors.length} vectors`, ...failed].join("\n"));
  process.exitCode = failed.length ? 1 : 0;
}
