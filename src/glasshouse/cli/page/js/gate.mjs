// The customer's gate: whether a file may be installed, decided offline from the pin, the evidence and a time.
// The reference is glasshouse_verify/gate.py: the same eight claims in the same order, the same three states, the same
// precedence. The first two claims carry the others: where one of them fails, nothing after it is said.

import { Chain } from "./charter.mjs";
import { FormatError, VerifyError, byCodePoint, formatJson, fromHex, sameBytes, sha256Hex, utf8 } from "./encoding.mjs";
import { nodesOf, parseEvidence } from "./evidence.mjs";
import { checkCheckpoint, parseNote } from "./note.mjs";
import { Outcome, Refused, mismatch, notAuthorised, outcomeOf, quote, undecided, utc } from "./report.mjs";
import { formatEnvelope, statementId } from "./signing.mjs";
import { buildParameters, makeStatement, parseStatement, statusKey, statusRow } from "./statement.mjs";
import { leafHash, verifyMultiproof, verifyRow } from "./tlog.mjs";

const NO_RESULT = ["build-failed", "pack-not-received"];
const LIMITS = {
  charter: "An amendment hidden by every status party at once is caught by monitors, not here.",
  ledger: "A log shows what was said and by whom, not that it is true.",
  source: "That source was shown does not say that anybody has read it.",
  provenance: "Provenance is the vendor's own word; the rebuilds are the check on it.",
  release: "A release says what was shipped and by whom, not that it is harmless.",
  rebuild: "Clock, kernel and processor cannot be hidden from a build; each verdict says what was not varied.",
  status: "It holds as of its time; a hold placed since then shows in the next status.",
  file: "",
};
const LF = 0x0a;

/**
 * Judge the file with SHA-256 `digest` (hex) at Unix time `at` by the pinned charter and the evidence, both as bytes.
 *
 * Returns the outcome, the claims, and the parties' names by id; or outcome 1 and the error where something does not
 * parse. It never throws: whatever goes wrong is not verified.
 */
export async function checkFile(pin, evidence, digest, at) {
  try {
    const gate = await Gate.open(stripped(pin), parseEvidence(evidence), digest, at);
    await gate.run();
    const { parties } = gate.chain.newest.charter;
    const names = new Map([...parties].map(([id, party]) => [id, party.name]));
    return { outcome: outcomeOf(gate.claims), claims: gate.claims, names };
  } catch (error) {
    return { outcome: Outcome.UNPARSEABLE, claims: [], names: new Map(), error };
  }
}

/** A pin without the newlines that an editor leaves at the end of a file. */
function stripped(data) {
  return data.slice(0, data.findLastIndex((byte) => byte !== LF) + 1);
}

/** A statement as the evidence shows it: who signed it, and whether it stands in the ledger, comes later. */
async function entryOf(use, { predicate, signatures, index }) {
  const { says, payload } = await makeStatement(use, predicate, `evidence.${use}`);
  return { use, index, says, envelope: { payload, signatures }, id: await statementId(payload) };
}

class Gate {
  static async open(pin, evidence, digest, at) {
    const gate = new Gate();
    Object.assign(gate, { evidence, digest, at, claims: [], theRebuilds: [], cutRoots: new Map() });
    gate.chain = await Chain.from(pin);
    gate.theSource = await entryOf("source", evidence.source);
    gate.theRelease = await entryOf("release", evidence.release);
    for (const logged of evidence.rebuilds) gate.theRebuilds.push(await entryOf("rebuild", logged));
    gate.theStatus = evidence.status && (await entryOf("status", evidence.status));
    gate.entries = [gate.theSource, gate.theRelease, ...gate.theRebuilds, gate.theStatus].filter(Boolean);
    gate.vendor = gate.theRelease.says.product.split("/")[0];
    const { files } = gate.theRelease.says;
    gate.released = files.find((file) => file.platform === evidence.platform && file.name === evidence.name);
    if (gate.released === undefined) throw new FormatError("evidence.name", "is no file of the release");
    return gate;
  }

  async run() {
    for (const foundation of ["charter", "ledger"]) {
      if (!(await this.holds(foundation))) return;
    }
    for (const step of ["source", "provenance", "release", "rebuild", "status", "file"]) await this.holds(step);
  }

  async holds(claim) {
    try {
      const said = await this[claim]();
      const [limit, recheck] = [LIMITS[claim], this.recheck(claim)];
      this.claims.push({ claim, outcome: Outcome.VERIFIED, ...said, recheck, limit });
      return true;
    } catch (error) {
      if (error instanceof FormatError || !(error instanceof Refused || error instanceof VerifyError)) throw error;
      const outcome = error.outcome ?? Outcome.NOT_AUTHORISED;
      this.claims.push({ claim, outcome, text: error.message, by: [], when: null, recheck: "", limit: "" });
      return false;
    }
  }

  // Foundations

  async charter() {
    if (this.evidence.pin !== this.chain.newest.id) {
      throw notAuthorised("the evidence starts from another first charter than the one pinned");
    }
    for (const amendment of this.evidence.amendments) this.entries.push(await this.chain.amend(amendment));
    const { by, charter: { version, initiative, time } } = this.chain.newest;
    return {
      text: `version ${version} of the charter of ${initiative} follows from the version you pinned`,
      by: by.length ? by : ["you"],
      when: time,
    };
  }

  async ledger() {
    const { checkpoint: head, witnesses } = await this.cosigned(this.chain.newest.charter, this.evidence.checkpoint);
    const handovers = await this.handovers();
    const leaves = await this.leaves();
    const cuts = handovers.map((handover) => handover.size);
    if (this.theStatus) cuts.push(BigInt(this.theStatus.says.checkpoint.size));
    this.cutRoots = await verifyMultiproof(leaves, cuts, head.size, head.root, nodesOf(this.evidence));
    if (handovers.some((handover) => !sameBytes(this.cutRoots.get(handover.size), handover.root))) {
      throw notAuthorised("a handover checkpoint is of another history of the ledger");
    }
    return {
      text: `${leaves.size} statements stand in ${head.origin}, whose ${head.size} entries the witnesses cosigned`,
      by: witnesses.map(({ party }) => party),
      when: witnesses.map(({ time }) => time).reduce((a, b) => (a > b ? a : b)),
    };
  }

  async cosigned(charter, text) {
    const note = parseNote(text);
    const cosigned = await checkCheckpoint(charter.policy, note);
    // What nothing checks could be changed unnoticed.
    if (note.signatures.length !== 1 + cosigned.witnesses.length) {
      throw new FormatError("evidence.checkpoint", "bears a signature of nobody whom the charter names");
    }
    return cosigned;
  }

  /** A checkpoint under the older policy for each amendment that changes who vouches for the ledger. */
  async handovers() {
    const [notes, checkpoints, { links }] = [[...this.evidence.handovers], [], this.chain];
    for (const [n, next] of links.slice(1).entries()) {
      const old = links[n].charter;
      if (old.vouchers() === next.charter.vouchers()) continue;
      if (notes.length === 0) {
        throw notAuthorised(
          `charter ${next.charter.version} changes the log key or the witnesses, but no checkpoint under` +
            ` version ${old.version} shows that it stands in the ledger`,
        );
      }
      const { checkpoint } = await this.cosigned(old, notes.shift());
      if (checkpoint.size <= BigInt(next.index)) {
        throw notAuthorised("a handover checkpoint is older than its amendment");
      }
      checkpoints.push(checkpoint);
    }
    if (notes.length > 0) throw new FormatError("evidence.handovers", "has a checkpoint that no amendment asks for");
    return checkpoints;
  }

  async leaves() {
    const leaves = new Map();
    for (const { index, envelope } of this.entries) leaves.set(BigInt(index), await leafHash(formatEnvelope(envelope)));
    if (leaves.size !== this.entries.length) {
      throw new FormatError("evidence", "names one ledger index for two statements");
    }
    return leaves;
  }

  // Claims

  /** The charter that judges the release: the one in force at its index. */
  get gateCharter() {
    return this.chain.at(this.theRelease.index).charter;
  }

  get product() {
    const { product: name, channel } = this.theRelease.says;
    const rule = this.gateCharter.products.get(name);
    if (rule === undefined) throw notAuthorised(`the charter has no product ${name}`);
    if (!rule.channels.includes(channel) || !rule.platforms.includes(this.evidence.platform)) {
      throw notAuthorised(`the charter has ${name} not in ${channel} for ${this.evidence.platform}`);
    }
    return rule;
  }

  async source() {
    const [source, release] = [this.theSource.says, this.theRelease.says];
    await this.vendorKeys(this.theSource);
    if (
      source.product !== release.product || source.version !== release.version || this.theSource.id !== release.source
    ) {
      throw mismatch("the release names another source than the one shown");
    }
    const reviewed = [...new Set(source.reviewers)];
    const asked = this.product.reviewers;
    // Who wrote a part of it has reviewed the rest only.
    const counted = reviewed.length - (reviewed.some((name) => source.authors?.includes(name)) ? 1 : 0);
    if (counted < asked) {
      throw undecided(`the source names ${counted} of the ${asked} reviewers that the charter asks for`);
    }
    const { size, root } = source.manifest;
    return {
      text: `${source.product} ${source.version} has ${size} source files under root ${root.slice(0, 16)}…`,
      by: [source.party, ...reviewed.sort(byCodePoint)],
      when: source.time,
    };
  }

  async provenance() {
    const [{ statement, signatures }, release] = [this.evidence.provenance, this.theRelease.says];
    const envelope = { payload: utf8(formatJson(statement)), signatures };
    if ((await sha256Hex(formatEnvelope(envelope))) !== release.provenance) {
      throw mismatch("the provenance is not the one that the release names");
    }
    const { use, subject, predicate } = await parseStatement(envelope.payload);
    if (use !== "provenance") throw new FormatError("evidence.provenance", "is another kind of statement");
    const signers = await this.chain.signers(envelope, "provenance", this.theRelease.index);
    const places = this.places(signers.get(this.vendor) ?? [], this.product.gate.build_in, "built");
    const built = new Set(release.files.map((file) => JSON.stringify([file.name, file.unsigned ?? file.sha256])));
    if (subject.map((pair) => JSON.stringify(pair)).sort().join() !== [...built].sort().join()) {
      throw mismatch("the provenance is of other files than those released");
    }
    const named = predicate.buildDefinition?.externalParameters ?? null;
    if (formatJson(named) !== formatJson(buildParameters(this.theSource.says))) {
      throw mismatch("the provenance names another product, version, source or environment");
    }
    return {
      text: `the conveyor in ${places} built these digests from that source`,
      by: [this.vendor],
      when: release.time,
    };
  }

  async release() {
    const release = this.theRelease.says;
    const keys = await this.vendorKeys(this.theRelease);
    const places = this.places(keys, this.product.gate.sign_in, "signed");
    return {
      text: `${release.product} ${release.version} was released, signed in ${places}`,
      by: [release.party],
      when: release.time,
    };
  }

  async rebuild() {
    const [rule, good, notes, failed] = [this.product.gate, new Map(), [], []];
    for (const entry of this.theRebuilds) {
      const [{ party, explanation, time }, verdict] = [entry.says, await this.verdict(entry)];
      if (verdict === "differs") throw mismatch(`${party} rebuilt it and got other bytes: ${explanation}`);
      if (NO_RESULT.includes(verdict)) failed.push(`${party}: ${verdict}`);
      else if (!rule.rebuilders.includes(party) || !(await this.counts(entry, verdict))) {
        notes.push(`${party}: ${verdict}, which does not count here`);
      } else if (await this.inStatus(entry)) good.set(party, time);
      else notes.push(`${party}: not yet in the status`);
    }
    if (failed.length > 0) throw undecided(`a rebuild came to no result: ${failed.join(", ")}`);
    if (good.size < rule.quorum) {
      const short = `${good.size} of the ${rule.quorum} rebuilds that the charter asks for`;
      throw undecided([short, ...notes].join("; "));
    }
    const apart = this.released.unsigned ? " but for the signature inside" : "";
    return {
      text: `${good.size} independent rebuilders got the same bytes${apart} (the charter asks for ${rule.quorum})`,
      by: [...good.keys()],
      when: Math.max(...good.values()),
    };
  }

  /** The verdict on this file, once it is certain who speaks and of what. */
  async verdict(entry) {
    const [rebuild, release, file] = [entry.says, this.theRelease.says, this.released];
    const signers = await this.chain.signers(entry.envelope, "rebuild", entry.index);
    if (!signers.has(rebuild.party)) throw notAuthorised(`no entitled key of ${rebuild.party} signed its rebuild`);
    const about = [this.theRelease.id, release.source, release.product, release.version];
    if ([rebuild.release, rebuild.source, rebuild.product, rebuild.version].some((name, n) => name !== about[n])) {
      throw mismatch(`the rebuild of ${rebuild.party} is of another release or from another source`);
    }
    const item = rebuild.files.find(
      ({ platform, name, shipped }) => platform === file.platform && name === file.name && shipped === file.sha256,
    );
    if (item === undefined) throw mismatch(`the rebuild of ${rebuild.party} does not speak of this file`);
    if (item.verdict === "identical-modulo-signature" && item.rebuilt !== file.unsigned) {
      throw mismatch(`${rebuild.party} calls two different digests equal but for a signature`);
    }
    return item.verdict;
  }

  /** Whether a verdict is one that the gate asks for, from a party that had not changed sides since. */
  async counts({ says, index }, verdict) {
    const rule = this.product.gate;
    const later = this.chain.at(Math.max(index, this.theRelease.index)).charter;
    const blind = (await this.row())?.verdicts.get(says.party)?.blind ?? false;
    return !later.standsWith(says.party, this.vendor) && rule.accept.includes(verdict) && (blind || !rule.blind);
  }

  /** Whether the status, if there is one, shows this very verdict; it must unless the verdict is younger. */
  async inStatus(entry) {
    const row = await this.row();
    if (row === null) return true;
    const shown = row.verdicts.get(entry.says.party)?.statement;
    if (shown !== entry.id && entry.index < this.theStatus.says.checkpoint.size) {
      throw mismatch(`the status shows another verdict of ${entry.says.party}`);
    }
    return shown === entry.id;
  }

  async status() {
    const [entry, row] = [this.theStatus, await this.row()];
    if (row === null) throw undecided("the oversight parties have signed no status that speaks of this release");
    const judge = this.chain.at(entry.says.checkpoint.size);
    const rule = judge.charter.status;
    const signers = await this.chain.signers(entry.envelope, "status", entry.index);
    const by = rule.parties.filter((party) => signers.has(party));
    if (by.length < rule.quorum) {
      const text = `the status has ${by.length} of the ${rule.quorum} signatures that the charter asks for`;
      throw by.length > 0 ? undecided(text) : notAuthorised(text);
    }
    this.checkStatusPlace(entry, judge.id);
    this.checkRow(row);
    this.checkAge(entry.says.time, rule.maximum_age);
    const superseded = row.holds.map((hold) => `; superseded: ${hold.reason}`).join("");
    return {
      text: `this is the only release of that name, and no hold or negative verdict stands${superseded}`,
      by,
      when: entry.says.time,
    };
  }

  checkStatusPlace(entry, charterId) {
    const head = entry.says.checkpoint;
    const root = this.cutRoots.get(BigInt(head.size));
    if (head.origin !== this.chain.newest.charter.ledger.origin || !sameBytes(fromHex(head.root), root)) {
      throw notAuthorised("the status was made over another history of the ledger");
    }
    if (entry.index < head.size) throw notAuthorised("the status names a checkpoint newer than itself");
    if (entry.says.charter !== charterId) {
      throw notAuthorised("the status was made under a charter that the evidence does not show");
    }
    if (this.theRelease.index >= head.size) throw undecided("the status is older than the release");
  }

  checkRow(row) {
    const { id, index } = this.theRelease;
    if (row.release !== id || row.index !== index || row.sha256 !== this.released.sha256) {
      throw mismatch("the status shows another release under this name and version");
    }
    if (row.conflicts.length > 0) throw mismatch(`${row.conflicts.length} other releases bear this name and version`);
    const hold = row.holds.find(({ action }) => action === "hold" || action === "withdraw");
    if (hold) throw mismatch(`${hold.party} placed a ${hold.action} on it: ${hold.reason}`);
    const given = [...row.verdicts].map(([party, { verdict }]) => ({ party, verdict }));
    const differing = given.filter(({ verdict }) => verdict === "differs").map(({ party }) => party);
    if (differing.length > 0) throw mismatch(`the rebuild of ${differing.join(", ")} differs`);
    const failed = given.filter(({ verdict }) => NO_RESULT.includes(verdict));
    if (failed.length > 0) {
      const words = failed.map(({ party, verdict }) => `${party}: ${verdict}`);
      throw undecided(`a rebuild came to no result: ${words.join(", ")}`);
    }
  }

  checkAge(time, maximum) {
    if (time > this.at) throw undecided(`the status is dated ${utc(time)}, after the time given (${utc(this.at)})`);
    if (this.at - time > maximum) throw undecided(`the status of ${utc(time)} is older than the ${maximum} s allowed`);
  }

  async file() {
    if (this.digest !== this.released.sha256) {
      const known = this.theRelease.says.files.map((file) => `${file.name} ${file.sha256.slice(0, 16)}…`).join(", ");
      throw mismatch(`the file in hand is ${this.digest.slice(0, 16)}…; released was ${known}`);
    }
    return {
      text: `the bytes in hand are ${this.released.name} as released`,
      by: ["you"],
      when: this.at,
    };
  }

  // What the steps share

  /** The row of this file, proven in the status manifest; null without a status. */
  async row() {
    if (!this.theStatus) return null;
    const { root, size } = this.theStatus.says.rows;
    const row = statusRow(await verifyRow(fromHex(root), size, this.evidence.row), "evidence.row.row");
    if (row.key !== statusKey(this.theRelease.says, this.released)) throw mismatch("the status row is of another file");
    return row;
  }

  async vendorKeys({ use, index, says, envelope }) {
    const keys = (await this.chain.signers(envelope, use, index)).get(this.vendor) ?? [];
    if (says.party !== this.vendor || keys.length === 0) {
      throw notAuthorised(`no key of ${this.vendor} that may sign a ${use} signed it`);
    }
    return keys;
  }

  places(keys, allowed, verb) {
    const places = [...new Set(keys.map((key) => this.gateCharter.jurisdiction(key)))].sort();
    const here = places.filter((place) => allowed.includes(place));
    if (here.length === 0) {
      const where = places.length > 0 ? `in ${places.join(", ")}` : `with no key of ${this.vendor} entitled to it`;
      throw notAuthorised(`it was ${verb} ${where}; the charter allows ${[...allowed].sort().join(", ")} only`);
    }
    return here.join(", ");
  }

  /** The command that checks a claim again. */
  recheck(claim) {
    const ledger = quote(this.chain.newest.charter.ledger.url);
    const { product, version } = this.theRelease.says;
    return {
      charter: `glasshouse charter history --ledger ${ledger}`,
      ledger: `glasshouse ledger fsck ${ledger}`,
      source: `glasshouse ledger entry ${this.theSource.index} --ledger ${ledger}`,
      provenance: `glasshouse ledger entry ${this.theRelease.index} --ledger ${ledger}`,
      release: `glasshouse ledger entry ${this.theRelease.index} --ledger ${ledger}`,
      rebuild: `glasshouse rebuild ${product} ${version} --node NODE`,
      status: `glasshouse status check --ledger ${ledger}`,
      file: `sha256sum ${quote(this.released.name)}`,
    }[claim];
  }
}
