// Evidence: one small file that proves offline what a released file is, given the pinned first charter.
// The reference is glasshouse_verify/evidence.py.

import { FormatError, parseJson } from "./encoding.mjs";
import { bytes, digest, fileName, identifier, integer, json, list, optional, record, string } from "./records.mjs";
import { rowProof } from "./tlog.mjs";

const SCHEMA = "glasshouse.evidence/v1";
const MAX_EVIDENCE = 1_000_000;

const signatures = list(record({ keyid: digest, sig: bytes() }));
const logged = record({ predicate: json, signatures, index: integer });
const shape = record(
  {
    schema: string,
    pin: digest,
    checkpoint: string,
    amendments: list(record({ delta: json, signatures, index: integer })),
    handovers: list(string),
    hashes: bytes(),
    platform: identifier,
    name: fileName,
    source: logged,
    release: logged,
    provenance: record({ statement: json, signatures }),
    rebuilds: list(logged),
    status: optional(logged),
    row: optional(rowProof),
  },
  ({ schema, status, row, hashes }) => {
    if (schema !== SCHEMA) throw new FormatError("evidence.schema", `must be ${SCHEMA}`);
    if ((status === undefined) !== (row === undefined)) {
      throw new FormatError("evidence.row", "stands with the status or not at all");
    }
    if (hashes.length % 32) throw new FormatError("evidence.hashes", "must be a whole number of 32-byte hashes");
  },
);

/** Evidence read strictly from its bytes. */
export const parseEvidence = (data) => shape(parseJson(data, "evidence", MAX_EVIDENCE), "evidence");

/** The 32-byte hashes of the multiproof. */
export const nodesOf = ({ hashes }) =>
  Array.from({ length: hashes.length / 32 }, (_, n) => hashes.slice(32 * n, 32 * n + 32));
