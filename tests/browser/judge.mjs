// Judges cases with the page's own verifier: a JSON case a line on standard input, a JSON answer a line on output.
// Argument: the folder of the modules.

import { createInterface } from "node:readline";

const { checkFile } = await import(`${process.argv[2]}/gate.mjs`);
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
// Times beyond 2**53 are BigInts and have no JSON of their own.
const plain = (name, value) => (name === "when" && value !== null ? String(value) : value);

for await (const line of createInterface({ input: process.stdin })) {
  const { pin, evidence, digest, at } = JSON.parse(line);
  const { outcome, claims, error } = await checkFile(bytes(pin), bytes(evidence), digest, at);
  const unexpected = error !== undefined && !["VerifyError", "FormatError"].includes(error.constructor.name);
  console.log(JSON.stringify({ outcome, claims, field: error?.field, error: error?.message, unexpected }, plain));
}
