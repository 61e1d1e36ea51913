// The scalars and the JSON that every other format is made of, each with exactly one spelling.
// Specified in docs/spec/canonical-json.md; the reference is glasshouse_verify/encoding.py.

/** Nothing was verified. Inside a step of the gate this means: not authorised. */
export class VerifyError extends Error {}

/** Bytes that do not follow their format: `field` says where, `reason` says why. */
export class FormatError extends VerifyError {
  constructor(field, reason) {
    super(`${field}: ${reason}`);
    this.field = field;
    this.reason = reason;
  }
}

const MAX_DEPTH = 64;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** UTF-8 bytes of a text. */
export const utf8 = (text) => new TextEncoder().encode(text);

/** SHA-256 of bytes, by the browser. */
export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

export const sha256Hex = async (bytes) => encodeHex(await sha256(bytes));

/** The parts, one after the other. */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

export const sameBytes = (a, b) => a.length === b.length && a.every((byte, n) => byte === b[n]);

export const encodeHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Lowercase hex that is known to be well formed. */
export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

export const encodeBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

/** Standard base64 in its only spelling, of `length` bytes if given. */
export function decodeBase64(text, field, length) {
  const bytes = BASE64.test(text) ? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) : null;
  // Trailing bits that are not zero do not survive the way back.
  if (bytes === null || encodeBase64(bytes) !== text) throw new FormatError(field, "not in canonical base64 or hex");
  if (length !== undefined && bytes.length !== length) {
    throw new FormatError(field, `${bytes.length} bytes, expected ${length}`);
  }
  return bytes;
}

/** A non-negative integer below 2**63 in its only spelling, as a BigInt. */
export function parseDecimal(text, field) {
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text)) {
    throw new FormatError(field, "not a decimal without sign, space or leading zero");
  }
  const value = BigInt(text);
  if (value >= 2n ** 63n) throw new FormatError(field, "decimal is 2**63 or more");
  return value;
}

/** Canonical JSON (RFC 8785, integers only) of at most `limit` bytes, read strictly. */
export function parseJson(bytes, field, limit) {
  if (bytes.length > limit) throw new FormatError(field, `${bytes.length} bytes, more than ${limit}`);
  let text, value;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError(field, `not JSON: ${error.message}`);
  }
  // A duplicate key, a space, an escape too many, a key out of order: none of them comes back as it was.
  if (formatJson(value, field) !== text) throw new FormatError(field, "not canonical JSON (RFC 8785)");
  return value;
}

/** The canonical text of a JSON value. */
export function formatJson(value, field = "json") {
  checkJson(value, field, 0);
  return canonical(value);
}

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  // sort() compares UTF-16 code units, as RFC 8785 section 3.2.3 asks.
  return `{${sortedNames(value).map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

function checkJson(value, field, depth) {
  if (typeof value === "string" && !value.isWellFormed()) throw new FormatError(field, "text holds a lone surrogate");
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new FormatError(field, "integer beyond 2**53 - 1");
  }
  if (value === null || typeof value !== "object") return;
  if (depth === MAX_DEPTH) throw new FormatError(field, `nested deeper than ${MAX_DEPTH}`);
  for (const name of Array.isArray(value) ? [] : Object.keys(value)) checkJson(name, field, depth);
  for (const item of Object.values(value)) checkJson(item, field, depth + 1);
}

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export const sortedNames = (object) => Object.keys(object).sort();

/** RFC 7396 merge patch of a JSON document; null removes. Without a prototype, so that "__proto__" is a name too. */
export function applyPatch(document, patch) {
  if (!isObject(patch)) return patch;
  const result = Object.assign(Object.create(null), isObject(document) ? document : {});
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = applyPatch(result[name], value);
  }
  return result;
}

/** Order of texts by code point, which is that of their UTF-8 bytes and not that of sort(). */
export function byCodePoint(a, b) {
  const [left, right] = [[...a], [...b]];
  const n = left.findIndex((letter, place) => letter !== right[place]);
  if (n === -1) return left.length - right.length;
  return n < right.length ? left[n].codePointAt(0) - right[n].codePointAt(0) : 1;
}
