// Ed25519 by WebCrypto, and the DSSE envelopes that statements are signed in.
// Specified in docs/spec/envelope.md; the references are glasshouse_verify/ed25519.py and dsse.py.

import {
  FormatError, VerifyError, concat, encodeBase64, encodeHex, formatJson, fromHex, sha256Hex, utf8,
} from "./encoding.mjs";

const PRIME = 2n ** 255n - 19n;
const ORDER_EIGHT_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER_Y = [0n, 1n, PRIME - 1n, ORDER_EIGHT_Y, PRIME - ORDER_EIGHT_Y];
const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const MAX_SIGNATURES = 100;
// RFC 8032 section 7.1, TEST 2: a signature over the one byte 0x72.
const KNOWN_KEY = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const KNOWN_SIGNATURE =
  "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
  "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

export const MAX_ENTRY = 65535;

/** The key itself, if it is in canonical form and not of small order. */
export function checkPublic(key, field) {
  if (key.length !== 32) throw new FormatError(field, `${key.length} bytes, an Ed25519 public key has 32`);
  const y = BigInt(`0x${encodeHex(key.toReversed())}`) & (2n ** 255n - 1n);
  if (y >= PRIME || SMALL_ORDER_Y.includes(y)) throw new FormatError(field, "weak Ed25519 public key");
  return key;
}

async function holds(key, message, signature) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
}

/** Refuse a signature that does not hold, naming the signer. */
export async function verifySignature(key, message, signature, signer) {
  const valid = signature.length === 64 && (await holds(key, message, signature).catch(() => false));
  if (valid !== true) throw new VerifyError(`signature of ${signer} does not verify`);
}

/** Whether this browser can tell a good Ed25519 signature from a bad one. */
export async function canVerify() {
  const [key, signature] = [fromHex(KNOWN_KEY), fromHex(KNOWN_SIGNATURE)];
  try {
    const [good, bad] = [await holds(key, Uint8Array.of(0x72), signature), await holds(key, utf8("s"), signature)];
    return good === true && bad === false;
  } catch {
    return false;
  }
}

/** The name of a key in envelopes: hex SHA-256 of its raw bytes. */
export const keyid = (key) => sha256Hex(key);

/** The pre-authentication encoding of a payload: what is signed (DSSE v1). */
export const pae = (payload) =>
  concat(utf8(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload);

/** The identity of a statement. */
export const statementId = (payload) => sha256Hex(pae(payload));

/** The bytes of an envelope as they stand in the ledger. */
export function formatEnvelope({ payload, signatures }) {
  const data = utf8(
    formatJson({
      payload: encodeBase64(payload),
      payloadType: PAYLOAD_TYPE,
      signatures: signatures.map(({ keyid: name, sig }) => ({ keyid: name, sig: encodeBase64(sig) })),
    }),
  );
  if (data.length > MAX_ENTRY) throw new FormatError("envelope", `${data.length} bytes, more than ${MAX_ENTRY}`);
  if (signatures.length < 1 || signatures.length > MAX_SIGNATURES) {
    throw new FormatError("envelope.signatures", `${signatures.length}, expected 1 to ${MAX_SIGNATURES}`);
  }
  if (new Set(signatures.map((signature) => signature.keyid)).size < signatures.length) {
    throw new FormatError("envelope.signatures", "a key signs twice");
  }
  return data;
}

/** Which of `keys` (keyid to public key) signed. Others are ignored; one of these that fails refuses the envelope. */
export async function verifyEnvelope({ payload, signatures }, keys) {
  const claims = signatures.filter((signature) => keys.has(signature.keyid));
  const message = pae(payload);
  for (const claim of claims) await verifySignature(keys.get(claim.keyid), message, claim.sig, claim.keyid);
  return [...new Set(claims.map((claim) => claim.keyid))].sort();
}
