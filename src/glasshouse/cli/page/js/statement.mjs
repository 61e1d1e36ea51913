// Statements: one signed claim about things named by digest (in-toto Statement v1), and the predicates that the gate
// reads. The references are glasshouse_verify/statement.py and status.py; members stand in their order.

import { FormatError, byCodePoint, formatJson, isObject, parseJson, utf8 } from "./encoding.mjs";
import {
  boolean, choice, digest, fileName, identifier, integer, json, list, mapping, optional, path, product, record, string,
  text, version,
} from "./records.mjs";
import { MAX_ENTRY } from "./signing.mjs";

const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const URI_BASE = "https://glasshouse.example/";
const PROVENANCE_TYPE = "https://slsa.dev/provenance/v1";

/** From best to worst. */
const VERDICTS = [
  "identical", "identical-modulo-signature", "stabilised-equal", "pack-not-received", "build-failed", "differs",
];

export const verdict = choice(...VERDICTS);
const tree = record({ root: digest, size: integer });

const source = record({
  party: identifier,
  product,
  version,
  manifest: tree,
  lock: tree,
  lock_file: digest,
  indexes: list(digest),
  recipe: path,
  epoch: integer,
  time: integer,
  pack: record({ sha256: digest, size: integer, recipients: list(identifier) }),
  commit: optional(text),
  authors: optional(list(text)),
  reviewers: optional(list(text)),
  history: optional(json),
});

const release = record(
  {
    party: identifier,
    product,
    version,
    channel: identifier,
    source: digest,
    provenance: digest,
    sbom: digest,
    files: list(record({ platform: identifier, name: fileName, sha256: digest, unsigned: optional(digest) })),
    time: integer,
  },
  ({ files }) => {
    const ascends = (a, b) => (byCodePoint(a.platform, b.platform) || byCodePoint(a.name, b.name)) < 0;
    if (files.length === 0 || !files.slice(1).every((file, n) => ascends(files[n], file))) {
      throw new FormatError("release.files", "must be sorted by platform and name, each once, at least one");
    }
  },
);

const rebuiltFile = record(
  { platform: identifier, name: fileName, shipped: digest, verdict, rebuilt: optional(digest) },
  (file) => {
    if (file.verdict === "identical" && file.rebuilt !== file.shipped) {
      throw new FormatError("rebuild.files.rebuilt", "must be the shipped digest beside the verdict identical");
    }
    if (file.verdict === "identical-modulo-signature" && file.rebuilt === undefined) {
      throw new FormatError("rebuild.files.rebuilt", "is missing beside the verdict identical-modulo-signature");
    }
  },
);

const rebuild = record(
  {
    party: identifier,
    product,
    version,
    release: digest,
    source: digest,
    verdict,
    files: list(rebuiltFile),
    explanation: text,
    not_varied: list(text),
    time: integer,
    executor: optional(text),
    opening: optional(record({ commit: digest, nonce: digest, outputs: tree })),
    opaque: optional(list(record({ path, sha256: digest }))),
    provenance: optional(digest),
    report: optional(digest),
    log: optional(digest),
    replaces: optional(digest),
  },
  ({ files, verdict: overall }) => {
    const worst = Math.max(...files.map((file) => VERDICTS.indexOf(file.verdict)));
    if (VERDICTS[worst] !== overall) {
      throw new FormatError("rebuild.verdict", "must be the worst of the files' verdicts");
    }
  },
);

const status = record({
  party: identifier,
  checkpoint: record({ origin: string, size: integer, root: digest }),
  charter: digest,
  rows: tree,
  blob: digest,
  time: integer,
});

/** One released file as the status manifest shows it; the reference is glasshouse_verify/status.py. */
export const statusRow = record({
  key: string,
  release: digest,
  index: integer,
  sha256: digest,
  verdicts: mapping(
    identifier,
    record({ verdict: optional(verdict), statement: optional(digest), blind: optional(boolean) }),
  ),
  holds: list(
    record({
      party: identifier,
      action: choice("hold", "withdraw", "supersede", "lift"),
      statement: digest,
      reason: text,
      time: integer,
    }),
  ),
  conflicts: list(digest),
});

const frame = record({
  _type: string,
  predicate: json,
  predicateType: string,
  subject: list(record({ name: string, digest: record({ sha256: digest }) })),
});

const PREDICATES = new Map();

const typeOf = (use) => (use === "provenance" ? PROVENANCE_TYPE : `${URI_BASE}${use}/v1`);

/**
 * Make `read` (value, where) the reader of the predicates that keys with `use` sign. `subjects` gives pairs of name
 * and digest: the subject of our own predicates says nothing that they do not.
 */
export function register(use, read, subjects) {
  PREDICATES.set(use, { read, subjects });
}

register("source", source, (says) => [[`${says.product}@${says.version}`, says.manifest.root]]);
register("release", release, (says) => says.files.map((file) => [file.name, file.sha256]));
register("rebuild", rebuild, (says) => says.files.map((file) => [file.name, file.shipped]));
register("status", status, (says) => [["status", says.blob]]);
register("provenance", (value) => (isObject(value) ? value : refuse("statement.predicate", "must be an object")));

function refuse(where, reason) {
  throw new FormatError(where, reason);
}

/** One of our own statements by its predicate (JSON): what it says, and the canonical payload that follows from it. */
export async function makeStatement(use, predicate, where) {
  const { read, subjects } = PREDICATES.get(use);
  const says = await read(predicate, where);
  const subject = (await subjects(says)).map(([name, sha256]) => ({ name, digest: { sha256 } }));
  const payload = utf8(formatJson({ _type: STATEMENT_TYPE, predicateType: typeOf(use), predicate, subject }));
  if (payload.length > MAX_ENTRY) refuse("statement", `${payload.length} bytes, more than ${MAX_ENTRY}`);
  return { says, payload };
}

/** A statement read strictly from its payload: its use, its predicate and its subject. */
export async function parseStatement(payload) {
  const value = frame(parseJson(payload, "statement", MAX_ENTRY), "statement");
  if (value._type !== STATEMENT_TYPE) refuse("statement._type", `must be ${STATEMENT_TYPE}`);
  if (value.subject.length === 0) refuse("statement.subject", "must not be empty");
  const subject = value.subject.map((item) => [item.name, item.digest.sha256]);
  const use = [...PREDICATES.keys()].find((known) => typeOf(known) === value.predicateType);
  if (use === undefined) refuse("statement.predicateType", "is not a type this version knows");
  const { read, subjects } = PREDICATES.get(use);
  const predicate = await read(value.predicate, use);
  if (subjects && JSON.stringify(subject) !== JSON.stringify(await subjects(predicate))) {
    refuse("statement.subject", "does not follow from the predicate");
  }
  return { use, predicate, subject };
}

/** What the provenance of a build must name: what went in, and nothing else. */
export const buildParameters = ({ lock, product: name, recipe, manifest, version: number }) => ({
  lock,
  product: name,
  recipe,
  source: manifest,
  version: number,
});

/** The key of a file's row in the status manifest. */
export const statusKey = (says, file) => `${says.product}/${says.version}/${file.platform}/${file.name}`;
