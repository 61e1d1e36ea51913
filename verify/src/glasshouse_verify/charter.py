"""The charter: who the parties are and what a release needs before a customer may install it.

A charter is a statement like any other (predicate type …/charter/v1). Collections are objects keyed by id, so that an
amendment is a short RFC 7396 merge patch. Version 1 is pinned by the customer; version n+1 names version n by statement
id and counts once a quorum of the members of version n has signed it: the lowest such ledger entry wins.

Rules that every charter must keep are in `check`, those between a charter and its successor in `check_successor`.
A key is never removed and never moved: revocation is `stops`, the ledger index from which it no longer counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any

from glasshouse_verify.codec import Country, Digest, Identifier, Json, Product, PublicKey, Text, encode
from glasshouse_verify.dsse import Envelope, statement_id, verify_envelope
from glasshouse_verify.ed25519 import check_public, keyid
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import CharterError, FormatError, QuorumError
from glasshouse_verify.note import VerifierKey, parse_vkey
from glasshouse_verify.policy import Policy, witness_policy
from glasshouse_verify.statement import Statement, Use, Verdict, parse_statement, register

NEGATIVE = frozenset({Verdict.DIFFERS, Verdict.BUILD_FAILED, Verdict.PACK_NOT_RECEIVED})


# What a party does in the initiative.
Role = StrEnum("Role", "VENDOR SUPERVISOR REBUILDER AUDITOR WITNESS LEDGER MEMBER")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A signing key: where it is held, what it may sign, and the ledger index from which it no longer counts."""

    public: PublicKey
    site: Identifier
    uses: tuple[Use, ...]
    stops: int | None = None


@dataclass(frozen=True, kw_only=True)
class Party:
    """A party. `acts_for` names the vendor on whose side it stands, if any; `recipient` is its age public key."""

    name: Text
    roles: tuple[Role, ...]
    keys: Mapping[Digest, Key]
    acts_for: Identifier | None = None
    recipient: str | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place where keys and machines stand."""

    name: Text
    jurisdiction: Country


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A witness key (cosignature/v1 vkey) and where to submit checkpoints."""

    party: Identifier
    key: str
    url: str


@dataclass(frozen=True, kw_only=True)
class LedgerRule:
    """The one active log and the witnesses that must cosign it; `faulty` of them may fail or lie."""

    origin: str
    key: str
    url: str
    faulty: int
    witnesses: Mapping[Identifier, Witness]


@dataclass(frozen=True, kw_only=True)
class Quorum:
    """At least `quorum` of `parties`."""

    parties: tuple[Identifier, ...]
    quorum: int


@dataclass(frozen=True, kw_only=True)
class StatusRule(Quorum):
    """Who signs the status, how many of them, and its maximum age in seconds."""

    maximum_age: int


@dataclass(frozen=True, kw_only=True)
class Authenticode:
    """Certificates that a signature embedded in a Windows file may show, by the SHA-256 of their DER.

    `timestampers` are RFC 3161 authorities: where there are any, each signature needs a stamp of one of them; `chain`
    are the certificates between a signer or authority and its root.
    """

    signers: tuple[Digest, ...]
    timestampers: tuple[Digest, ...]
    chain: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True)
class GateRule:
    """What a release needs: rebuilders and their quorum, where it may be built and signed, which verdicts count.

    Where `blind` is set, only rebuilds committed to before the release count; the vendor waits for the commitments of
    all rebuilders, but at most `blind_window` seconds after it has logged the source.
    """

    rebuilders: tuple[Identifier, ...]
    quorum: int
    accept: tuple[Verdict, ...]
    blind: bool
    build_in: tuple[Country, ...]
    sign_in: tuple[Country, ...]
    blind_window: int | None = None
    authenticode: Authenticode | None = None


@dataclass(frozen=True, kw_only=True)
class ProductRule:
    """A product: where it runs, how it is offered, how many review it, its gate, and its developers' signing keys."""

    platforms: tuple[Identifier, ...]
    channels: tuple[Identifier, ...]
    reviewers: int
    gate: GateRule
    developers: Mapping[Identifier, PublicKey] | None = None


@dataclass(frozen=True, kw_only=True)
class Charter:
    """The charter; see the module's rules. `regions` is read by `region`: it has no say in which amendment counts."""

    party: Identifier
    initiative: Text
    version: int
    time: int
    parties: Mapping[Identifier, Party]
    sites: Mapping[Identifier, Site]
    members: Quorum
    ledger: LedgerRule
    status: StatusRule
    products: Mapping[Product, ProductRule]
    regions: Json | None = None
    previous: Digest | None = None

    def __post_init__(self) -> None:
        check(self)

    def subjects(self) -> list[tuple[str, str]]:
        """The charter document itself."""
        return [("charter", sha256(format_json(encode(self))).hexdigest())]

    @cached_property
    def owners(self) -> dict[str, Identifier]:
        """keyid → party."""
        return {kid: party_id for party_id, party in self.parties.items() for kid in party.keys}

    @cached_property
    def public_keys(self) -> dict[str, bytes]:
        """keyid → raw public key."""
        return {kid: key.public for party in self.parties.values() for kid, key in party.keys.items()}

    def key(self, kid: str) -> Key | None:
        """The key with this id."""
        owner = self.owners.get(kid)
        return None if owner is None else self.parties[owner].keys[Digest(kid)]

    def jurisdiction(self, kid: str) -> Country:
        """The country of the site that holds the key."""
        key = self.key(kid)
        if key is None:
            raise CharterError(f"the charter knows no key {kid[:16]}…")
        return self.sites[key.site].jurisdiction

    @cached_property
    def policy(self) -> Policy:
        """The witness policy for checkpoints of the ledger, one group per party."""
        groups: dict[str, list[VerifierKey]] = {}
        for witness in self.ledger.witnesses.values():
            groups.setdefault(witness.party, []).append(parse_vkey(witness.key))
        return witness_policy(parse_vkey(self.ledger.key), groups, self.ledger.faulty)


register(Use.CHARTER, Charter)


def side(charter: Charter, party: Identifier) -> Identifier:
    """On whose side a party stands: the vendor that it acts for, or its own."""
    return charter.parties[party].acts_for or party


def vouchers(charter: Charter) -> object:
    """Who vouches for the ledger: where this changes, evidence needs a checkpoint under the older policy."""
    return charter.ledger.key, charter.ledger.faulty, {(w.party, w.key) for w in charter.ledger.witnesses.values()}


def check(charter: Charter) -> None:
    """Refuse a charter that breaks a rule: FormatError for a member out of shape, CharterError for a broken rule."""
    if charter.version < 1 or (charter.version == 1) != (charter.previous is None):
        raise FormatError("charter.previous", "names the charter before, in every version but the first")
    _check_parties(charter)
    _check_ledger(charter)
    members = charter.members
    _check_quorum(charter, "members", members.parties, members.quorum, Role.MEMBER)
    if 2 * members.quorum <= len(members.parties):
        raise CharterError("members.quorum: must be more than half, so that two successors show who voted for both")
    status = charter.status
    _check_quorum(charter, "status", status.parties, status.quorum, Role.AUDITOR)
    signers = (charter.parties[party] for party in status.parties)
    if any(Role.VENDOR in signer.roles or signer.acts_for is not None for signer in signers):
        raise CharterError("status.parties: a vendor, or a party acting for one, cannot sign the status")
    if status.maximum_age < 1:
        raise FormatError("charter.status.maximum_age", "must be at least one second")
    for name, product in charter.products.items():
        _check_product(charter, name, product)


def _check_parties(charter: Charter) -> None:
    seen: set[str] = set()
    for party_id, party in charter.parties.items():
        where = f"charter.parties.{party_id}"
        if party.acts_for is not None:
            vendor = charter.parties.get(party.acts_for)
            if vendor is None or Role.VENDOR not in vendor.roles or vendor.acts_for is not None:
                raise FormatError(f"{where}.acts_for", "names no vendor of this charter that acts for nobody else")
        for kid, key in party.keys.items():
            if kid != keyid(check_public(charter.public_keys[kid], f"{where}.keys.{kid}")):
                raise FormatError(f"{where}.keys.{kid}", "is not the SHA-256 of its public key")
            if kid in seen:
                raise CharterError(f"parties.{party_id}: a key belongs to one party only, {kid[:16]}… stands twice")
            if key.site not in charter.sites:
                raise FormatError(f"{where}.keys.{kid}.site", "names no site of this charter")
            seen.add(kid)


def _check_ledger(charter: Charter) -> None:
    log = parse_vkey(charter.ledger.key)
    if log.name != charter.ledger.origin:
        raise FormatError("charter.ledger.key", "must be named as the origin")
    for name, witness in charter.ledger.witnesses.items():
        if witness.party not in charter.parties or Role.WITNESS not in charter.parties[witness.party].roles:
            raise FormatError(f"charter.ledger.witnesses.{name}.party", "names no party with the role witness")
    # Constructing the policy refuses keys of another type, one key twice, and too few parties.
    _ = charter.policy


def _check_quorum(charter: Charter, name: str, parties: tuple[Identifier, ...], quorum: int, role: Role) -> None:
    if len(set(parties)) != len(parties):
        raise FormatError(f"charter.{name}.parties", "names a party twice")
    for party in parties:
        if party not in charter.parties or role not in charter.parties[party].roles:
            raise FormatError(f"charter.{name}.parties", f"{party} is no party with the role {role}")
    if not 1 <= quorum <= len(parties):
        raise CharterError(f"{name}.quorum: must be from 1 to {len(parties)}, the number of parties named")


def _check_product(charter: Charter, name: Product, product: ProductRule) -> None:
    vendor, gate = Identifier(name.split("/")[0]), product.gate
    if vendor not in charter.parties or Role.VENDOR not in charter.parties[vendor].roles:
        raise FormatError(f"charter.products.{name}", "names no vendor of this charter before the '/'")
    _check_quorum(charter, f"products.{name}.gate", gate.rebuilders, gate.quorum, Role.REBUILDER)
    sides = {side(charter, vendor)}
    for party in gate.rebuilders:
        if side(charter, party) in sides:
            raise CharterError(f"products.{name}.gate.rebuilders: {party} stands with the vendor or another rebuilder")
        sides.add(side(charter, party))
    if not gate.accept or NEGATIVE & set(gate.accept):
        raise FormatError(f"charter.products.{name}.gate.accept", "must list verdicts that can speak for a release")
    if not (gate.build_in and gate.sign_in and product.platforms and product.channels):
        raise FormatError(f"charter.products.{name}", "must name platforms, channels, build_in and sign_in")


def check_successor(old: Charter, old_id: str, new: Charter) -> None:
    """Refuse an amendment that does not follow `old`: wrong number or predecessor, a key gone, moved or unstopped."""
    if new.version != old.version + 1 or new.previous != old_id:
        raise CharterError(f"charter {new.version} does not follow version {old.version} by number and id")
    if new.ledger.origin != old.ledger.origin:
        raise CharterError("an amendment cannot change the ledger's origin: customers pin a new charter instead")
    for site_id, site in old.sites.items():
        if new.sites.get(site_id, site).jurisdiction != site.jurisdiction:
            raise CharterError(f"site {site_id} has changed its country: name a new site")
    for kid, owner in old.owners.items():
        before, after = old.parties[owner].keys[Digest(kid)], new.key(kid)
        if after is None or new.owners[kid] != owner:
            raise CharterError(f"key {kid[:16]}… of {owner} is gone: a key is never removed, set its stops")
        if after.site != before.site:
            raise CharterError(f"key {kid[:16]}… of {owner} has moved: use a new key at the new site")
        if before.stops is not None and (after.stops is None or after.stops > before.stops):
            raise CharterError(f"key {kid[:16]}… of {owner} was stopped at {before.stops} and cannot be revived")


def verified_keyids(charter: Charter, envelope: Envelope) -> list[str]:
    """The charter's keys whose signatures on the envelope hold; unknown keys are ignored.

    Raises SignatureError where the signature of a known key fails.
    """
    return sorted(verify_envelope(envelope, charter.public_keys))


def entitled(charter: Charter, keyids: Iterable[str], use: Use) -> dict[Identifier, list[str]]:
    """Party → its keys among `keyids` that the charter lets sign `use`. What counts is parties, however many keys."""
    parties: dict[Identifier, list[str]] = {}
    for kid in keyids:
        key = charter.key(kid)
        if key is not None and use in key.uses:
            parties.setdefault(charter.owners[kid], []).append(kid)
    return parties


@dataclass(frozen=True, kw_only=True)
class Link:
    """One charter of a chain: its id, the index from whose next entry on it is in force, and who voted for it."""

    charter: Charter
    id: str
    index: int
    by: tuple[Identifier, ...] = ()


class Chain:
    """The charters from the pin on. The pin is in force from the ledger's first entry."""

    def __init__(self, pin: bytes) -> None:
        """Start from the canonical payload of the first charter statement."""
        self.links = [Link(charter=_charter_of(parse_statement(pin)), id=statement_id(pin), index=-1)]
        if self.newest.charter.version != 1:
            raise CharterError("a pin is the first charter of an initiative, this is a later version")

    @property
    def newest(self) -> Link:
        """The last charter of the chain."""
        return self.links[-1]

    def at(self, index: int) -> Link:
        """The charter in force for the entry at `index`: the newest one that stands below it."""
        return next(link for link in reversed(self.links) if link.index < index or link is self.links[0])

    def extend(self, envelope: Envelope, index: int) -> Link:
        """Add the amendment that stands at `index`; QuorumError, CharterError, SignatureError change nothing."""
        newest = self.newest
        if index <= newest.index:
            raise CharterError(f"the amendment at entry {index} does not come after its predecessor")
        charter = _charter_of(parse_statement(envelope.payload))
        check_successor(newest.charter, newest.id, charter)
        members = newest.charter.members
        signers = self.signers(envelope, Use.CHARTER, index)
        by = tuple(party for party in members.parties if party in signers)
        if len(by) < members.quorum:
            raise QuorumError(f"charter {charter.version} has {len(by)} of the {members.quorum} member votes it needs")
        self.links.append(Link(charter=charter, id=statement_id(envelope.payload), index=index, by=by))
        return self.newest

    def signers(self, envelope: Envelope, use: Use, index: int) -> dict[Identifier, list[str]]:
        """Party → keys for the valid, entitled signatures of an entry, judged at its own index.

        A key that the newest charter stops at or below the index does not count. Raises SignatureError where the
        signature of a known key fails.
        """
        return self.count(verified_keyids(self.at(index).charter, envelope), use, index)

    def count(self, keyids: Iterable[str], use: Use, index: int) -> dict[Identifier, list[str]]:
        """As `signers`, for keys whose signatures are known to hold."""
        return entitled(self.at(index).charter, [kid for kid in keyids if not self._stopped(kid, index)], use)

    def _stopped(self, kid: str, index: int) -> bool:
        key = self.newest.charter.key(kid)
        return key is not None and key.stops is not None and key.stops <= index


def _charter_of(statement: Statement) -> Charter:
    if not isinstance(statement.predicate, Charter):
        raise FormatError("charter", "is another kind of statement")
    return statement.predicate


def apply_patch(document: Any, patch: Any) -> Any:
    """RFC 7396 merge patch of a JSON document; null removes."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply_patch(result.get(name), value)
    return result
