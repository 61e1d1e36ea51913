// The Merkle tree of a log (RFC 6962), multiproofs, and rows of a manifest.
// Specified in docs/spec/multiproof.md and manifest.md; the references are glasshouse_verify/tlog.py and row.py.
// Indexes and sizes are BigInts: a tree may have more leaves than a double can count.

import { FormatError, VerifyError, concat, formatJson, sameBytes, sha256, utf8 } from "./encoding.mjs";
import { bytes, integer, json, list, mapping, record, string } from "./records.mjs";

const MAX_ROW = 65535;

export const leafHash = (data) => sha256(concat(Uint8Array.of(0), data));
const nodeHash = (left, right) => sha256(concat(Uint8Array.of(1), left, right));

const bitLength = (number) => (number === 0n ? 0 : number.toString(2).length);

/** The largest power of two below `width`, which is 2 or more. */
const split = (width) => 1n << BigInt(bitLength(width - 1n) - 1);

function checkIndex(index, size) {
  if (index < 0n || index >= size) throw new VerifyError(`leaf ${index} is not in a tree of ${size}`);
}

/**
 * Check leaves (a Map of index to leaf hash) against the tree of `size` leaves and `root` by one list of hashes;
 * return the root of the first `cut` leaves for each of `cuts`.
 */
export async function verifyMultiproof(leaves, cuts, size, root, hashes) {
  for (const index of leaves.keys()) checkIndex(index, size);
  if (size < 1n || !cuts.every((cut) => cut > 0n && cut <= size)) {
    throw new VerifyError(`a cut is not between 1 and the size ${size}`);
  }
  const roots = new Map();
  let used = 0;

  // The root of leaves low … high-1; leaves in `roots` that of leaves low … cut-1 for each cut inside.
  async function rootOf(low, high, wanted, inside) {
    if (wanted.length === 0 && inside.length === 0) {
      if (used === hashes.length) throw new VerifyError(`multiproof has no hash for leaves ${low} to ${high - 1n}`);
      return hashes[used++];
    }
    if (high - low === 1n) return leaves.get(low);
    const middle = low + split(high - low);
    const left = await rootOf(low, middle, wanted.filter((i) => i < middle), inside.filter((c) => c < middle));
    const right = await rootOf(middle, high, wanted.filter((i) => i >= middle), inside.filter((c) => c > middle));
    for (const cut of inside.filter((c) => c >= middle)) {
      roots.set(cut, cut === middle ? left : await nodeHash(left, roots.get(cut)));
    }
    return nodeHash(left, right);
  }

  roots.set(size, await rootOf(0n, size, [...leaves.keys()], [...new Set(cuts)].filter((cut) => cut < size)));
  if (!sameBytes(roots.get(size), root) || used !== hashes.length) {
    throw new VerifyError(`multiproof does not lead to the root of the tree of ${size}`);
  }
  return roots;
}

/** A row of a manifest with the multiproof of its leaf. */
export const rowProof = record(
  { row: mapping(string, json), index: integer, proof: list(bytes(32)) },
  ({ row }) => formatRow(row),
);

function formatRow(row) {
  string(row.get("key"), "row.key");
  const data = utf8(formatJson(Object.fromEntries(row)));
  if (data.length > MAX_ROW) throw new FormatError("row", `${data.length} bytes, more than ${MAX_ROW}`);
  return data;
}

/** The row as JSON, if the proof shows it to be in the manifest of `size` rows under `root`. */
export async function verifyRow(root, size, { row, index, proof }) {
  const leaves = new Map([[BigInt(index), await leafHash(formatRow(row))]]);
  await verifyMultiproof(leaves, [], BigInt(size), root, proof);
  return Object.fromEntries(row);
}
