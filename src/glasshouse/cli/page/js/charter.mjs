// The charter: who the parties are and what a release needs before a customer may install it; and the chain of its
// amendments from the pin on. The reference is glasshouse_verify/charter.py, rule by rule in the same order.

import { FormatError, VerifyError, applyPatch, formatJson, sha256Hex, utf8 } from "./encoding.mjs";
import { COSIGNATURE_V1, ED25519, parseVkey, witnessPolicy } from "./note.mjs";
import {
  boolean, bytes, choice, country, digest, identifier, integer, json, list, mapping, optional, product, record, string,
  text,
} from "./records.mjs";
import { checkPublic, keyid, statementId, verifyEnvelope } from "./signing.mjs";
import { makeStatement, parseStatement, register, verdict } from "./statement.mjs";

const NEGATIVE = ["differs", "build-failed", "pack-not-received"];
const USES = [
  ...["charter", "source", "provenance", "release", "commit", "rebuild", "status", "hold", "finding"],
  ...["receipt", "inventory", "inspection", "access", "trap", "relocation"],
];
const ROLES = ["vendor", "supervisor", "rebuilder", "auditor", "witness", "ledger", "member"];

const key = record({ public: bytes(32), site: identifier, uses: list(choice(...USES)), stops: optional(integer) });
const party = record({
  name: text,
  roles: list(choice(...ROLES)),
  keys: mapping(digest, key),
  acts_for: optional(identifier),
  recipient: optional(string),
});
const ledger = record({
  origin: string,
  key: string,
  url: string,
  faulty: integer,
  witnesses: mapping(identifier, record({ party: identifier, key: string, url: string })),
});
const gate = record({
  rebuilders: list(identifier),
  quorum: integer,
  accept: list(verdict),
  blind: boolean,
  build_in: list(country),
  sign_in: list(country),
  blind_window: optional(integer),
  authenticode: optional(record({ signers: list(digest), timestampers: list(digest), chain: list(digest) })),
});
const shape = record({
  party: identifier,
  initiative: text,
  version: integer,
  time: integer,
  parties: mapping(identifier, party),
  sites: mapping(identifier, record({ name: text, jurisdiction: country })),
  members: record({ parties: list(identifier), quorum: integer }),
  ledger,
  status: record({ parties: list(identifier), quorum: integer, maximum_age: integer }),
  products: mapping(
    product,
    record({
      platforms: list(identifier),
      channels: list(identifier),
      reviewers: integer,
      gate,
      developers: optional(mapping(identifier, bytes(32))),
    }),
  ),
  regions: optional(json),
  previous: optional(digest),
});

register("charter", readCharter, async ({ document }) => [["charter", await sha256Hex(utf8(formatJson(document)))]]);

async function readCharter(document, where) {
  const charter = new Charter(document, shape(document, where));
  await checkCharter(charter);
  return charter;
}

class Charter {
  /** `document` is the JSON that `says` was read from; amendments are patches of it. */
  constructor(document, says) {
    Object.assign(this, says, { document });
    const keys = [...says.parties].flatMap(([owner, { keys: held }]) => [...held].map(([id, one]) => [id, owner, one]));
    this.owners = new Map(keys.map(([id, owner]) => [id, owner]));
    this.publicKeys = new Map(keys.map(([id, , one]) => [id, one.public]));
  }

  key(id) {
    return this.owners.has(id) ? this.parties.get(this.owners.get(id)).keys.get(id) : undefined;
  }

  /** The country of the site that holds a key. */
  jurisdiction(id) {
    const held = this.key(id);
    if (held === undefined) throw new VerifyError(`the charter knows no key ${id.slice(0, 16)}…`);
    return this.sites.get(held.site).jurisdiction;
  }

  hasRole(id, role) {
    return this.parties.get(id)?.roles.includes(role) ?? false;
  }

  /** On whose side a party stands: the vendor that it acts for, or its own. */
  side(id) {
    return this.parties.get(id).acts_for ?? id;
  }

  standsWith(id, vendor) {
    return this.side(id) === this.side(vendor);
  }

  /** Who vouches for the ledger: where this changes, evidence needs a checkpoint under the older policy. */
  vouchers() {
    const { key: log, faulty, witnesses } = this.ledger;
    const held = new Set([...witnesses.values()].map((witness) => `${witness.party} ${witness.key}`));
    return JSON.stringify([log, faulty, [...held].sort()]);
  }
}

async function checkCharter(charter) {
  const { members, status } = charter;
  if (charter.version < 1 || (charter.version === 1) !== (charter.previous === undefined)) {
    throw new FormatError("charter.previous", "names the charter before, in every version but the first");
  }
  await checkParties(charter);
  await checkLedger(charter);
  checkQuorum(charter, "members", members.parties, members.quorum, "member");
  if (2 * members.quorum <= members.parties.length) {
    throw new VerifyError("members.quorum: must be more than half, so that two successors show who voted for both");
  }
  checkQuorum(charter, "status", status.parties, status.quorum, "auditor");
  if (status.parties.some((id) => charter.hasRole(id, "vendor") || charter.parties.get(id).acts_for !== undefined)) {
    throw new VerifyError("status.parties: a vendor, or a party acting for one, cannot sign the status");
  }
  if (status.maximum_age < 1) throw new FormatError("charter.status.maximum_age", "must be at least one second");
  for (const [name, rule] of charter.products) checkProduct(charter, name, rule);
}

async function checkParties(charter) {
  const seen = new Set();
  for (const [id, { acts_for: vendor, keys }] of charter.parties) {
    const where = `charter.parties.${id}`;
    const independent = vendor === undefined || charter.parties.get(vendor)?.acts_for === undefined;
    if (vendor !== undefined && !(charter.hasRole(vendor, "vendor") && independent)) {
      throw new FormatError(`${where}.acts_for`, "names no vendor of this charter that acts for nobody else");
    }
    for (const [kid, { site }] of keys) {
      if (kid !== (await keyid(checkPublic(charter.publicKeys.get(kid), `${where}.keys.${kid}`)))) {
        throw new FormatError(`${where}.keys.${kid}`, "is not the SHA-256 of its public key");
      }
      if (seen.has(kid)) {
        throw new VerifyError(`parties.${id}: a key belongs to one party only, ${kid.slice(0, 16)}… stands twice`);
      }
      if (!charter.sites.has(site)) throw new FormatError(`${where}.keys.${kid}.site`, "names no site of this charter");
      seen.add(kid);
    }
  }
}

async function checkLedger(charter) {
  const log = await parseVkey(charter.ledger.key);
  if (log.algorithm !== ED25519 || log.name !== charter.ledger.origin) {
    throw new FormatError("charter.ledger.key", "must be an Ed25519 key named as the origin");
  }
  const groups = new Map();
  for (const [name, witness] of charter.ledger.witnesses) {
    const where = `charter.ledger.witnesses.${name}`;
    if (!charter.hasRole(witness.party, "witness")) {
      throw new FormatError(`${where}.party`, "names no party with the role witness");
    }
    const vkey = await parseVkey(witness.key);
    if (vkey.algorithm !== COSIGNATURE_V1) throw new FormatError(`${where}.key`, "must be a cosignature/v1 key");
    groups.set(witness.party, [...(groups.get(witness.party) ?? []), vkey]);
  }
  charter.policy = witnessPolicy(log, groups, charter.ledger.faulty);
}

function checkQuorum(charter, name, parties, quorum, role) {
  if (new Set(parties).size !== parties.length) throw new FormatError(`charter.${name}.parties`, "names a party twice");
  for (const id of parties) {
    if (!charter.hasRole(id, role)) {
      throw new FormatError(`charter.${name}.parties`, `${id} is no party with the role ${role}`);
    }
  }
  if (quorum < 1 || quorum > parties.length) {
    throw new VerifyError(`${name}.quorum: must be from 1 to ${parties.length}, the number of parties named`);
  }
}

function checkProduct(charter, name, { gate: rule, platforms, channels }) {
  const vendor = name.split("/")[0];
  if (!charter.hasRole(vendor, "vendor")) {
    throw new FormatError(`charter.products.${name}`, "names no vendor of this charter before the '/'");
  }
  checkQuorum(charter, `products.${name}.gate`, rule.rebuilders, rule.quorum, "rebuilder");
  const sides = new Set([charter.side(vendor)]);
  for (const id of rule.rebuilders) {
    if (sides.has(charter.side(id))) {
      throw new VerifyError(`products.${name}.gate.rebuilders: ${id} stands with the vendor or another rebuilder`);
    }
    sides.add(charter.side(id));
  }
  if (rule.accept.length === 0 || rule.accept.some((word) => NEGATIVE.includes(word))) {
    throw new FormatError(`charter.products.${name}.gate.accept`, "must list verdicts that can speak for a release");
  }
  if ([rule.build_in, rule.sign_in, platforms, channels].some((words) => words.length === 0)) {
    throw new FormatError(`charter.products.${name}`, "must name platforms, channels, build_in and sign_in");
  }
}

/** Refuse an amendment that does not follow: wrong number or predecessor, a key gone, moved or unstopped. */
function checkSuccessor(old, oldId, next) {
  if (next.version !== old.version + 1 || next.previous !== oldId) {
    throw new VerifyError(`charter ${next.version} does not follow version ${old.version} by number and id`);
  }
  if (next.ledger.origin !== old.ledger.origin) {
    throw new VerifyError("an amendment cannot change the ledger's origin: customers pin a new charter instead");
  }
  for (const [id, { jurisdiction }] of old.sites) {
    if (next.sites.has(id) && next.sites.get(id).jurisdiction !== jurisdiction) {
      throw new VerifyError(`site ${id} has changed its country: name a new site`);
    }
  }
  for (const [kid, owner] of old.owners) {
    const [before, after, label] = [old.key(kid), next.key(kid), `key ${kid.slice(0, 16)}… of ${owner}`];
    if (after === undefined || next.owners.get(kid) !== owner) {
      throw new VerifyError(`${label} is gone: a key is never removed, set its stops`);
    }
    if (after.site !== before.site) throw new VerifyError(`${label} has moved: use a new key at the new site`);
    if (before.stops !== undefined && (after.stops === undefined || after.stops > before.stops)) {
      throw new VerifyError(`${label} was stopped at ${before.stops} and cannot be revived`);
    }
  }
}

async function charterOf(payload) {
  const { use, predicate } = await parseStatement(payload);
  if (use !== "charter") throw new FormatError("charter", "is another kind of statement");
  return predicate;
}

/** The charters from the pin on, each with its id and the index from whose next entry on it is in force. */
export class Chain {
  /** Start from the payload of the first charter, which is in force from the ledger's first entry. */
  static async from(pin) {
    const chain = new Chain();
    chain.links = [{ charter: await charterOf(pin), id: await statementId(pin), index: -1, by: [] }];
    if (chain.newest.charter.version !== 1) {
      throw new VerifyError("a pin is the first charter of an initiative, this is a later version");
    }
    return chain;
  }

  get newest() {
    return this.links.at(-1);
  }

  /** The charter in force for the entry at `index`: the newest one that stands below it. */
  at(index) {
    return this.links.findLast((link) => link.index < index) ?? this.links[0];
  }

  /** Add the amendment that a merge patch of the newest charter makes, if it has its votes; return its entry. */
  async amend({ delta, signatures, index }) {
    const { newest } = this;
    const document = applyPatch(newest.charter.document, delta);
    const { says: charter, payload } = await makeStatement("charter", document, "evidence.charter");
    const envelope = { payload, signatures };
    if (index <= newest.index) {
      throw new VerifyError(`the amendment at entry ${index} does not come after its predecessor`);
    }
    checkSuccessor(newest.charter, newest.id, charter);
    const signers = await this.signers(envelope, "charter", index);
    const { parties, quorum } = newest.charter.members;
    const by = parties.filter((id) => signers.has(id));
    if (by.length < quorum) {
      throw new VerifyError(`charter ${charter.version} has ${by.length} of the ${quorum} member votes it needs`);
    }
    this.links.push({ charter, id: await statementId(payload), index, by });
    return { index, envelope };
  }

  /**
   * Party → its keys that validly signed an entry and may sign its use, judged at its own index. A key that the
   * newest charter stops at or below the index does not count.
   */
  async signers(envelope, use, index) {
    const { charter } = this.at(index);
    const parties = new Map();
    for (const kid of await verifyEnvelope(envelope, charter.publicKeys)) {
      const stops = this.newest.charter.key(kid)?.stops;
      if ((stops !== undefined && stops <= index) || !charter.key(kid).uses.includes(use)) continue;
      const owner = charter.owners.get(kid);
      parties.set(owner, [...(parties.get(owner) ?? []), kid]);
    }
    return parties;
  }
}
