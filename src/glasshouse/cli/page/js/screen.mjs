// The page's screen: takes the file in hand, has the gate judge it, and shows the answer. Nothing leaves the page.

import { sha256Hex, utf8 } from "./encoding.mjs";
import { checkFile } from "./gate.mjs";
import { Outcome, stateOf, utc } from "./report.mjs";
import { fileDigest } from "./sha256.mjs";
import { canVerify, statementId } from "./signing.mjs";

const WORDS = { verified: "Verified", mismatch: "Mismatch", undecided: "Undecided", open: "Not checked" };
const ANSWERS = new Map([
  [Outcome.VERIFIED, ["Verified", "These are the bytes that were released, and every claim holds."]],
  [Outcome.MISMATCH, ["Mismatch", "Do not use this file: it, or what is said of it, contradicts the evidence."]],
  [Outcome.NOT_AUTHORISED, ["Not authorised", "Do not use this file: who vouches for it was not entitled to."]],
  [Outcome.UNDECIDED, ["Undecided", "There is too little evidence, or it is too old; newer evidence may decide."]],
  [Outcome.UNPARSEABLE, ["Unreadable", "Nothing is verified: the evidence or the charter is not what it should be."]],
]);
const NO_ED25519 = "This browser cannot check signatures; use glasshouse verify. Nothing is verified here.";

const RESTS_ON = "That rests on the charter in this page: compare its id with the one you hold.";
const NOT_REACHED = "Not reached: what this stands on does not hold, or cannot be read.";
const PAGE = "this page";

const at = (id) => document.getElementById(id);
const embedded = (id) => utf8(at(id).textContent);
const stamp = (seconds) => utc(seconds).replace("T", " ").replace("Z", " UTC");

const given = {
  file: null,
  charter: { bytes: embedded("charter"), from: PAGE },
  evidence: { bytes: embedded("evidence"), from: PAGE },
};
let turn = 0;

/** An element with text or elements inside. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function icon(state) {
  const [svg, use] = ["svg", "use"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#is-${state}`);
  svg.append(use);
  return svg;
}

/** Judge what is given, and show it; a newer call makes an older one silent. */
async function check() {
  const mine = ++turn;
  const { file, charter, evidence } = given;
  if (file === null) return;
  try {
    say("open", "Checking …", `Hashing ${file.name}.`);
    const digest = await fileDigest(file, showProgress);
    const now = Math.floor(Date.now() / 1000);
    const report = (await canVerify()) ? await checkFile(charter.bytes, evidence.bytes, digest, now) : null;
    if (mine !== turn) return;
    showProgress(1);
    if (report === null) say("undecided", "Not checked", NO_ED25519, facts(digest, now));
    else show(report, digest, now);
  } catch (error) {
    if (mine === turn) say("open", "Not checked", `${file.name} could not be read (${error.message}).`);
  }
}

function showProgress(share) {
  at("progress").hidden = share === 1;
  at("progress").value = share;
}

/** Put an answer where assistive technology announces it. */
function say(state, word, sentence, ...more) {
  const box = make("div", { class: "answer", "data-state": state });
  box.append(make("p", { class: "word" }, icon(state), word), make("p", {}, sentence), ...more);
  at("answer").replaceChildren(box);
}

function facts(digest, now) {
  const { file, charter, evidence } = given;
  const rows = {
    File: `${file.name}, ${file.size.toLocaleString("en")} bytes`,
    "SHA-256": make("code", {}, digest),
    Judged: `${stamp(now)}, by this device's clock`,
    Charter: `from ${charter.from}`,
    Evidence: `from ${evidence.from}`,
  };
  return make("dl", {}, ...Object.entries(rows).map(([name, value]) => {
    return make("div", {}, make("dt", {}, name), make("dd", {}, value));
  }));
}

function show({ outcome, claims, names, error }, digest, now) {
  const [word, sentence] = ANSWERS.get(outcome);
  const state = stateOf(outcome);
  const reasons = claims.filter((claim) => claim.outcome === outcome && outcome !== Outcome.VERIFIED);
  const why = error ? [error.message] : reasons.map((claim) => `${titleOf(claim)}: ${claim.text}.`);
  if (outcome === Outcome.VERIFIED && given.charter.from === PAGE) why.push(RESTS_ON);
  say(state, word, sentence, ...why.map((text) => make("p", {}, text)), facts(digest, now));
  at("checked").dataset.state = state;
  at("checked").textContent = `Checked here, in this browser, at ${stamp(now)}, with ${given.file.name} in hand.`;
  for (const row of document.querySelectorAll("[data-claim]")) {
    showClaim(row, claims.find((claim) => claim.claim === row.dataset.claim), names);
  }
}

const titleOf = ({ claim }) => document.querySelector(`[data-claim=${claim}] .title`).textContent;

function showClaim(row, claim, names) {
  const state = claim ? stateOf(claim.outcome) : "open";
  const part = (name) => row.querySelector(`.${name}`);
  row.dataset.state = state;
  part("icon").replaceWith(icon(state));
  part("word").textContent = WORDS[state].toLowerCase();
  part("text").textContent = claim?.text ?? NOT_REACHED;
  const when = claim?.when ?? null;
  const rows = {
    by: claim?.by.map((id) => (names.has(id) ? `${names.get(id)} (${id})` : id)).join(", "),
    when: when === null ? "" : stamp(when),
    limit: claim?.limit,
    "recheck code": claim?.recheck,
  };
  for (const [place, text] of Object.entries(rows)) {
    const [name, inner = "dd"] = place.split(" ");
    part(name).hidden = !text;
    part(name).querySelector(inner).textContent = text ?? "";
  }
}

async function takeFile(file) {
  given.file = file;
  await check();
}

/** Use a charter or evidence that the person chose instead of the one in the page; again the page's, if none. */
async function takeOwn(name, input) {
  const [file] = input.files;
  const bytes = file ? new Uint8Array(await file.arrayBuffer()) : embedded(name);
  given[name] = { bytes, from: file ? file.name : PAGE };
  if (name === "charter") await showPin();
  await check();
}

async function showPin() {
  const { bytes, from } = given.charter;
  const id = await statementId(bytes.slice(0, bytes.findLastIndex((byte) => byte !== 0x0a) + 1));
  for (const [place, digest] of [["pin", id], ["pin-file", await sha256Hex(bytes)]]) {
    at(place).replaceChildren(...digest.match(/.{8}/g).map((part) => make("span", {}, part)));
  }
  at("pin-from").textContent = from;
}

function save(name, bytes) {
  const url = URL.createObjectURL(new Blob([bytes], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function onDrop(event) {
  event.preventDefault();
  document.body.classList.remove("over");
  const { files } = event.dataTransfer;
  if (files.length !== 1) {
    say("open", "Not checked", "Drop one file.");
    return;
  }
  at("file").files = files;
  takeFile(files[0]);
}

async function start() {
  at("no-script").hidden = true;
  for (const id of ["check", "save"]) at(id).hidden = false;
  // Otherwise a file that was fetched again under the same name could not be chosen again.
  at("file").addEventListener("click", () => (at("file").value = ""));
  at("file").addEventListener("change", () => at("file").files.length > 0 && takeFile(at("file").files[0]));
  at("own-charter").addEventListener("change", () => takeOwn("charter", at("own-charter")));
  at("own-evidence").addEventListener("change", () => takeOwn("evidence", at("own-evidence")));
  at("save-evidence").addEventListener("click", () => save(at("evidence").dataset.name, given.evidence.bytes));
  at("save-charter").addEventListener("click", () => save("charter.json", given.charter.bytes));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
  document.addEventListener("drop", onDrop);
  if (await canVerify()) at("own").hidden = false;
  else say("undecided", "Not checked", NO_ED25519);
}

start();
