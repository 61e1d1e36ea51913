// The answer of the gate: claims, each verified, mismatch or undecided, and the outcome that follows from them.
// The reference is glasshouse_verify/report.py.

/** Outcomes, numbered as the exit codes of `glasshouse verify`. */
export const Outcome = Object.freeze({ VERIFIED: 0, UNPARSEABLE: 1, MISMATCH: 3, NOT_AUTHORISED: 4, UNDECIDED: 5 });

const PRECEDENCE = [Outcome.NOT_AUTHORISED, Outcome.MISMATCH, Outcome.UNDECIDED, Outcome.VERIFIED];

/** A step of the gate that does not hold, with the outcome it leads to. */
export class Refused extends Error {
  constructor(outcome, text) {
    super(text);
    this.outcome = outcome;
  }
}

/** The file or the content contradicts valid evidence. */
export const mismatch = (text) => new Refused(Outcome.MISMATCH, text);

/** A signer, the charter or the ledger is not entitled to what the evidence shows it for. */
export const notAuthorised = (text) => new Refused(Outcome.NOT_AUTHORISED, text);

/** There is not enough evidence yet, or it is too old. */
export const undecided = (text) => new Refused(Outcome.UNDECIDED, text);

/** The first outcome of the precedence that any claim has. */
export const outcomeOf = (claims) => PRECEDENCE.find((outcome) => claims.some((claim) => claim.outcome === outcome));

/** One of the three states; a signer who is not entitled is a mismatch with the charter. */
export function stateOf(outcome) {
  if (outcome === Outcome.VERIFIED) return "verified";
  return outcome === Outcome.UNDECIDED ? "undecided" : "mismatch";
}

/** Unix seconds (number or BigInt) as ISO 8601 in UTC; Date knows no year beyond 275760, cosigned times may. */
export function utc(seconds) {
  const whole = BigInt(seconds);
  const [days, rest] = [whole / 86400n + 719468n, Number(whole % 86400n)];
  const [era, dayOfEra] = [days / 146097n, days % 146097n];
  const yearOfEra = (dayOfEra - dayOfEra / 1460n + dayOfEra / 36524n - dayOfEra / 146096n) / 365n;
  const dayOfYear = dayOfEra - (365n * yearOfEra + yearOfEra / 4n - yearOfEra / 100n);
  const monthIndex = (5n * dayOfYear + 2n) / 153n;
  const month = monthIndex < 10n ? monthIndex + 3n : monthIndex - 9n;
  const year = yearOfEra + era * 400n + (month <= 2n ? 1n : 0n);
  const day = dayOfYear - (153n * monthIndex + 2n) / 5n + 1n;
  const two = (number) => String(number).padStart(2, "0");
  const clock = [Math.floor(rest / 3600), Math.floor(rest / 60) % 60, rest % 60].map(two).join(":");
  return `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}T${clock}Z`;
}

/** A word of a shell command. */
export function quote(word) {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'"'"'`)}'`;
}
