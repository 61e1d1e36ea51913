// Typed records over JSON: a kind is a function (value, where) that checks a value and returns what it stands for.
// Unknown and missing members, wrong types and values outside their pattern are refused by name.
// The reference is glasshouse_verify/codec.py; members stand in the order in which it reads them.

import { FormatError, decodeBase64, isObject, sortedNames } from "./encoding.mjs";

const NAME = "[a-z0-9][a-z0-9._-]{0,63}";

const refuse = (where, reason) => {
  throw new FormatError(where, reason);
};

export const string = (value, where) => (typeof value === "string" ? value : refuse(where, "must be a string"));

export const boolean = (value, where) =>
  typeof value === "boolean" ? value : refuse(where, "must be true or false");

export const integer = (value, where) =>
  Number.isSafeInteger(value) && value >= 0 ? value : refuse(where, "must be an integer from 0 to 2^53-1");

/** Any JSON value, passed through. */
export const json = (value) => value;

const pattern = (source, reason) => {
  const whole = new RegExp(`^(?:${source})$`, "us");
  return (value, where) => (whole.test(string(value, where)) ? value : refuse(where, reason));
};

export const digest = pattern("[0-9a-f]{64}", "must be 64 lowercase hex digits");
export const identifier = pattern(NAME, "must be lowercase letters, digits, '.', '_' or '-', at most 64");
export const product = pattern(`${NAME}/${NAME}`, "must be vendor/product");
export const version = pattern("[A-Za-z0-9][A-Za-z0-9.+~_\\-]{0,63}", "must be a version such as 4.5.4");
export const country = pattern("[A-Z]{2}", "must be a two-letter country code such as CH");
export const text = pattern(
  "[^\\x00-\\x09\\x0b-\\x1f\\x7f]{0,4000}",
  "must be at most 4000 characters without controls",
);
export const fileName = pattern(
  "(?!\\.{1,2}$)[^/\\x00-\\x1f\\x7f]{1,255}",
  "must be a file name without '/' or control characters",
);
export const path = pattern(
  "(?!/)(?!(?:.*/)?\\.{1,2}(?:/|$))[^\\x00-\\x1f\\x7f]{1,1024}",
  "must be a relative path inside the tree",
);

/** Base64 of `length` bytes, of any number if not given. */
export const bytes = (length) => (value, where) => decodeBase64(string(value, where), where, length);

/** One of the given words. */
export const choice = (...words) => (value, where) =>
  words.includes(string(value, where)) ? value : refuse(where, `must be one of ${words.join(", ")}`);

export const list = (kind) => (value, where) => {
  if (!Array.isArray(value)) refuse(where, "must be an array");
  return value.map((item, n) => kind(item, `${where}[${n}]`));
};

/** An object whose member names are data: a Map, in the order of canonical JSON. */
export const mapping = (name, kind) => (value, where) => {
  if (!isObject(value)) refuse(where, "must be an object");
  return new Map(
    sortedNames(value).map((key) => [name(key, `${where} member name`), kind(value[key], `${where}.${key}`)]),
  );
};

/** A member that may be left out; then it is undefined. */
export const optional = (kind) => ({ kind, optional: true });

/** An object with exactly these members; `check` may refuse what they say together. */
export const record = (members, check = () => {}) => (value, where) => {
  if (!isObject(value)) refuse(where, "must be an object");
  for (const name of sortedNames(value)) {
    if (!Object.hasOwn(members, name)) refuse(`${where}.${name}`, "is not a known member");
  }
  const result = {};
  for (const [name, member] of Object.entries(members)) {
    if (Object.hasOwn(value, name)) result[name] = (member.kind ?? member)(value[name], `${where}.${name}`);
    else if (!member.optional) refuse(`${where}.${name}`, "is missing");
  }
  check(result);
  return Object.freeze(result);
};
