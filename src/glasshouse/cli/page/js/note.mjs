// Signed notes, checkpoints in them, and the witness policy that a charter asks of them.
// Specified in docs/spec/signed-note.md, checkpoint.md and policy.md; the references are glasshouse_verify/note.py,
// checkpoint.py and policy.py.

import {
  FormatError, VerifyError, concat, decodeBase64, encodeHex, parseDecimal, sameBytes, sha256, utf8,
} from "./encoding.mjs";
import { checkPublic, verifySignature } from "./signing.mjs";

export const ED25519 = 0x01;
export const COSIGNATURE_V1 = 0x04;

const MAX_NOTE = 1_000_000;
const MAX_SIGNATURES = 100;
const NOT_IN_NAMES = /[\x00-\x20+\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const CONTROLS = /[\x00-\x09\x0b-\x1f]/;

function checkName(name, field) {
  if (name === "" || NOT_IN_NAMES.test(name) || !name.isWellFormed()) {
    throw new FormatError(field, "empty, or holds a space, a control character, a lone surrogate or '+'");
  }
}

/** A verifier key: name+hex(id)+base64(algorithm ‖ public key). */
export async function parseVkey(text) {
  const [name, id, ...rest] = text.split("+");
  if (rest.length === 0) throw new FormatError("vkey", "not name+id+key");
  if (!/^[0-9a-f]{8}$/.test(id)) throw new FormatError("vkey id", "not in canonical base64 or hex");
  const data = decodeBase64(rest.join("+"), "vkey key");
  checkName(name, "vkey name");
  const algorithm = data[0] ?? 0;
  if (algorithm !== ED25519 && algorithm !== COSIGNATURE_V1) {
    throw new FormatError("vkey algorithm", "is neither 0x01 nor 0x04");
  }
  const key = { name, algorithm, id, key: checkPublic(data.slice(1), "vkey public key") };
  if (encodeHex((await sha256(concat(utf8(`${name}\n`), data))).slice(0, 4)) !== id) {
    throw new FormatError("vkey id", "does not belong to this name and key");
  }
  return Object.freeze(key);
}

/** A note's text and its signature lines; nothing about them is verified. */
export function parseNote(data) {
  const size = utf8(data).length;
  if (size > MAX_NOTE) throw new FormatError("note", `${size} bytes, more than ${MAX_NOTE}`);
  if (CONTROLS.test(data)) throw new FormatError("note", "ASCII control character");
  const divider = data.lastIndexOf("\n\n");
  if (divider === -1) throw new FormatError("note", "no empty line before the signatures");
  if (!data.endsWith("\n") || data.length === divider + 2) {
    throw new FormatError("note signature", "missing, or without its newline");
  }
  const lines = data.slice(divider + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) throw new FormatError("note signatures", `more than ${MAX_SIGNATURES}`);
  return { text: data.slice(0, divider + 1), signatures: lines.map(parseSignature) };
}

function parseSignature(line) {
  if (!line.startsWith("— ")) throw new FormatError("note signature", "does not start with an em dash and a space");
  const space = line.indexOf(" ", 2);
  const name = space === -1 ? line.slice(2) : line.slice(2, space);
  checkName(name, "note signature name");
  const data = decodeBase64(space === -1 ? "" : line.slice(space + 1), "note signature");
  if (data.length < 5) throw new FormatError("note signature", "shorter than a key id and a signature");
  return { name, id: encodeHex(data.slice(0, 4)), value: data.slice(4) };
}

/**
 * Which of `keys` signed the note: a Map of key to the newest time it states (0n for plain Ed25519).
 * Unknown keys are ignored; one known signature that fails refuses the whole note.
 */
async function verifyNote(note, keys) {
  const known = new Map();
  for (const key of keys) {
    const label = `${key.name} ${key.id}`;
    if (known.has(label) && !sameBytes(known.get(label).key, key.key)) {
      throw new VerifyError(`two keys share the name ${key.name} and one id`);
    }
    known.set(label, key);
  }
  const signed = new Map();
  for (const { name, id, value } of note.signatures) {
    const key = known.get(`${name} ${id}`);
    if (key === undefined) continue;
    const time = await verifySigned(key, note.text, value);
    signed.set(key, time > (signed.get(key) ?? 0n) ? time : signed.get(key) ?? 0n);
  }
  if (signed.size === 0) throw new VerifyError("no known key signed the note");
  return signed;
}

async function verifySigned(key, text, value) {
  if (key.algorithm === ED25519) {
    await verifySignature(key.key, utf8(text), value, key.name);
    return 0n;
  }
  const time = BigInt(`0x0${encodeHex(value.slice(0, 8))}`);
  if (time >= 2n ** 63n) throw new VerifyError(`signature of ${key.name} states a time beyond 2**63`);
  await verifySignature(key.key, utf8(`cosignature/v1\ntime ${time}\n${text}`), value.slice(8), key.name);
  return time;
}

/** A log's claim about its first `size` entries, read from the text of a note. */
function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.pop() !== "" || lines.length < 3) {
    throw new FormatError("checkpoint", "fewer than three lines that end in a newline");
  }
  if (lines.includes("")) throw new FormatError("checkpoint", "empty line");
  const [origin, size, root] = lines;
  return {
    origin,
    size: parseDecimal(size, "checkpoint size"),
    root: decodeBase64(root, "checkpoint root", 32),
  };
}

/**
 * The policy of a charter: its log, and a group of witness keys for each party, so that no party counts twice.
 * Of n parties, more than 3 * faulty, all must sign if n is 3 or less, else (n + faulty + 1) / 2 rounded up.
 */
export function witnessPolicy(log, groups, faulty) {
  const count = groups.size;
  if (3 * faulty >= count) throw new FormatError("witnesses", `${count} parties cannot tolerate ${faulty} faulty ones`);
  const named = (party, keys) => keys.map((key, n) => ({ party, name: `${party}/${n + 1}`, key }));
  const witnesses = [...groups].flatMap(([party, keys]) => named(party, keys));
  if (new Set(witnesses.map(({ key }) => encodeHex(key.key))).size < witnesses.length) {
    throw new FormatError("policy witness", "two have one public key");
  }
  // "none" is the policy format's own name for a quorum that asks for nobody.
  if (groups.has("none")) throw new FormatError("policy", "a name is defined twice");
  return { log, witnesses, needed: count <= 3 ? count : Math.ceil((count + faulty + 1) / 2) };
}

/** A checkpoint that satisfies a policy, and which of its witnesses cosigned when. */
export async function checkCheckpoint(policy, note) {
  const signed = await verifyNote(note, [policy.log, ...policy.witnesses.map(({ key }) => key)]);
  const checkpoint = parseCheckpoint(note.text);
  if (!signed.has(policy.log) || policy.log.name !== checkpoint.origin) {
    throw new VerifyError(`no log of the policy signed a checkpoint for origin '${checkpoint.origin}'`);
  }
  const witnesses = policy.witnesses.filter(({ key }) => signed.has(key));
  if (new Set(witnesses.map(({ party }) => party)).size < policy.needed) {
    const names = witnesses.map(({ name }) => name).join(", ") || "none";
    throw new VerifyError(`quorum 'parties/quorum' is not satisfied by witnesses: ${names}`);
  }
  return { checkpoint, witnesses: witnesses.map(({ party, key }) => ({ party, time: signed.get(key) })) };
}
