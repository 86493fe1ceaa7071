/**
 * FunctionGemma's replies and prompts for a JavaScript app: an ES module without dependencies, for browsers and node.
 *
 * `parse` reads a reply strictly: a call is returned only if it is written exactly as the model was trained to write it. Anything else
 * is an error with the place where it broke; nothing is guessed. The first broken call ends the reading, because where its strings end
 * is then unknown. Linear time, at most 64 levels deep. `node check.mjs ../vectors.json` checks this file against the golden vectors.
 */

export const BOS = "<bos>";
const ESCAPE = "<escape>";
const START_CALL = "<start_function_call>";
const END_CALL = "<end_function_call>";
const STOPS = new Map([
  ["<start_function_response>", "content_after_response_token"],
  ["<end_of_turn>", "content_after_end_of_turn"],
  ["<eos>", "content_after_end_of_turn"],
]);
export const CONTROL_TOKENS = [
  "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<escape>", "<start_function_declaration>",
  "<end_function_declaration>", "<start_function_call>", "<end_function_call>", "<start_function_response>",
  "<end_function_response>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_receiver>", "<end_receiver>",
  "<unk>", "<mask>",
];
const MAX_DEPTH = 64;
// White space as Python has it, which the model's chat template trims by; JavaScript's own differs in U+001C to U+001F, U+0085 and U+FEFF.
const SPACES =
  "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000";
const WORDS = new Map([["true", true], ["false", false], ["null", null], ["None", null]]);
const NUMBER = /^-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/**
 * Reads a whole reply, control tokens included. Never throws.
 *
 * Returns {text, calls: [{name, arguments}], errors: [{code, at, expected, raw}]}. `text` is for the user; run nothing of a reply that
 * has errors with the codes truncated_call (cut off) or malformed_call. `at` is the index in `reply` at which it broke. Other codes:
 * stray_token, content_after_response_token, content_after_end_of_turn. Objects in `arguments` have no prototype. An integer that a
 * number cannot hold is a BigInt.
 */
export function parse(reply) {
  const reader = new Reader(reply);
  if (reader.isCallWithoutStart()) {
    const error = { code: "malformed_call", at: reader.space(0), expected: START_CALL, raw: reply };
    return { text: "", calls: [], errors: [error] };
  }
  const text = [];
  const calls = [];
  const errors = [];
  let at = 0;
  while (at < reply.length) {
    const start = reply.indexOf("<", at);
    text.push(reply.slice(at, start < 0 ? reply.length : start));
    if (start < 0) break;
    const token = reader.token(start);
    at = start + (token.length || 1);
    if (!token) {
      text.push("<");
    } else if (token === START_CALL) {
      try {
        const [call, next] = reader.call(at);
        calls.push(call);
        at = next;
      } catch (broken) {
        if (!(broken instanceof Broken)) throw broken;
        errors.push({ code: broken.code, at: broken.at, expected: broken.expected, raw: reply.slice(start) });
        break;
      }
    } else if (STOPS.has(token)) {
      at = reader.end(at);
      if (at < reply.length) errors.push({ code: STOPS.get(token), at, expected: "the end of the reply", raw: reply.slice(at) });
      break;
    } else {
      errors.push({ code: "stray_token", at: start, expected: "text, a call or the end of the reply", raw: token });
    }
  }
  return { text: text.join(""), calls, errors };
}

/**
 * The prompt of a first request, as in training. Runtimes that add <bos> themselves want it without: `.slice(BOS.length)`.
 *
 * Throws a RangeError if the request spells a control token: the model would read it as one.
 */
export function renderPrompt(request, developer, declarations) {
  const spelled = CONTROL_TOKENS.find((token) => request.includes(token));
  if (spelled) throw new RangeError(`The request spells the control token ${spelled}.`);
  const start = `${BOS}<start_of_turn>developer\n${trim(developer)}${declarations}<end_of_turn>\n`;
  return `${start}<start_of_turn>user\n${trim(request)}<end_of_turn>\n<start_of_turn>model\n`;
}

function trim(text) {
  let start = 0;
  let end = text.length;
  while (start < end && SPACES.includes(text[start])) start += 1;
  while (end > start && SPACES.includes(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

class Broken extends Error {
  constructor(code, at, expected) {
    super(code);
    this.code = code;
    this.at = at;
    this.expected = expected;
  }
}

/** Recursive descent over the text; every method takes a position and gives back the next one. */
class Reader {
  constructor(text) {
    this.text = text;
  }

  fail(at, expected) {
    const token = this.token(at);
    const cut = this.isCut(at) || (token !== "" && token !== ESCAPE && token !== END_CALL);
    throw new Broken(cut ? "truncated_call" : "malformed_call", at, expected);
  }

  /** The control token at this place, "" if there is none. */
  token(at) {
    return CONTROL_TOKENS.find((token) => this.text.startsWith(token, at)) ?? "";
  }

  /** Whether the text ends here, or in the middle of a control token that starts here. */
  isCut(at) {
    const left = this.text.length - at;
    return CONTROL_TOKENS.some((token) => left < token.length && token.startsWith(this.text.slice(at)));
  }

  space(at) {
    while (at < this.text.length && SPACES.includes(this.text[at])) at += 1;
    return at;
  }

  /** The first place that holds anything but white space, stops and padding. */
  end(at) {
    for (;;) {
      at = this.space(at);
      const token = this.token(at);
      if (!STOPS.has(token) && token !== "<pad>") return at;
      at += token.length;
    }
  }

  isCallWithoutStart() {
    const start = this.space(0);
    if (!this.text.startsWith("call:", start)) return false;
    try {
      return this.end(this.call(start)[1]) === this.text.length;
    } catch (broken) {
      if (!(broken instanceof Broken)) throw broken;
      return false;
    }
  }

  /** The next place of a character in `stops`, or of a control token. Fails at the end of the text. */
  until(at, stops) {
    while (at < this.text.length && !stops.includes(this.text[at])) {
      if (this.text[at] === "<" && (this.token(at) || this.isCut(at))) break;
      at += 1;
    }
    if (at === this.text.length) this.fail(at, "the rest of the call");
    return at;
  }

  character(at, expected) {
    at = this.space(at);
    if (this.text[at] !== expected) this.fail(at, expected);
    return at + 1;
  }

  call(at) {
    at = this.space(at);
    if (!this.text.startsWith("call:", at)) {
      this.fail("call:".startsWith(this.text.slice(at, at + 5)) ? this.text.length : at, "call:");
    }
    const start = at + 5;
    at = this.until(start, '{}[]()<>",=' + SPACES);
    if (at === start) this.fail(at, "the name of a function");
    const name = this.text.slice(start, at);
    const [values, next] = this.object(this.character(at, "{"), 1);
    const call = { name, arguments: values };
    at = this.space(next);
    if (this.text.startsWith(END_CALL, at)) return [call, at + END_CALL.length];
    if (END_CALL.startsWith(this.text.slice(at, at + END_CALL.length))) return [call, this.text.length]; // ends before or in the end tag
    if (!STOPS.has(this.token(at))) this.fail(at, END_CALL);
    return [call, at];
  }

  object(at, depth) {
    if (depth > MAX_DEPTH) this.fail(at - 1, "at most 64 levels");
    const pairs = Object.create(null); // so that an argument named __proto__ is an argument
    at = this.space(at);
    if (this.text[at] === "}") return [pairs, at + 1];
    for (;;) {
      const start = this.space(at);
      const [key, next] = this.key(start);
      if (key in pairs) this.fail(start, "an argument that is not there yet");
      [pairs[key], at] = this.value(this.character(next, ":"), depth);
      at = this.space(at);
      if (this.text[at] === "}") return [pairs, at + 1];
      at = this.character(at, ",");
    }
  }

  array(at, depth) {
    if (depth > MAX_DEPTH) this.fail(at - 1, "at most 64 levels");
    const values = [];
    at = this.space(at);
    if (this.text[at] === "]") return [values, at + 1];
    for (;;) {
      const [value, next] = this.value(at, depth);
      values.push(value);
      at = this.space(next);
      if (this.text[at] === "]") return [values, at + 1];
      at = this.character(at, ",");
    }
  }

  key(at) {
    if (this.text.startsWith(ESCAPE, at)) return this.string(at);
    const end = this.until(at, ":,{}[]");
    const key = trim(this.text.slice(at, end));
    if (!key || key[0] === '"') this.fail(at, "the name of an argument");
    return [key, end];
  }

  /** Text between two <escape>; everything in it is text, whatever it looks like. */
  string(at) {
    const start = at + ESCAPE.length;
    const end = this.text.indexOf(ESCAPE, start);
    if (end < 0) this.fail(this.text.length, ESCAPE);
    return [this.text.slice(start, end), end + ESCAPE.length];
  }

  value(at, depth) {
    at = this.space(at);
    if (this.text.startsWith(ESCAPE, at)) return this.string(at);
    if (this.text[at] === "{") return this.object(at + 1, depth + 1);
    if (this.text[at] === "[") return this.array(at + 1, depth + 1);
    const end = this.until(at, ",]}" + SPACES);
    const word = this.text.slice(at, end);
    if (WORDS.has(word)) return [WORDS.get(word), end];
    const number = NUMBER.exec(word);
    if (!number) this.fail(at, "a value");
    if (number[1] || number[2]) {
      if (!Number.isFinite(Number(word))) this.fail(at, "a number that fits into 64 bits");
      return [Number(word), end];
    }
    if (word.length > 20 || BigInt.asIntN(64, BigInt(word)) !== BigInt(word)) this.fail(at, "a number that fits into 64 bits");
    return [Number.isSafeInteger(Number(word)) ? Number(word) + 0 : BigInt(word), end];
  }
}
