"""From a recipe to published statements, one release in one directory, step by step.

    tree/ tree.json     the source as fetched, with recipe and lock        (fetch)
    lineage             of its commit, where the recipe names a branch
    secret pack.age     the release secret and the encrypted source pack   (seal)
    out/ build.json     what the sandboxed build left, and its digests     (build)
    signed/ signed.json what is shipped with a signature inside            (embed, by a process that holds the key)
    provenance.dsse sbom.json source.dsse release.dsse                     (sign, by processes that hold the keys)

Each step leaves a durable file and is not done again, so a release resumes after a crash with the same secret, the same
statements and, since identical entries have one index, the same place in the ledger.
"""

import fnmatch
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, TypeAlias

from glasshouse_verify.charter import Charter, ProductRule
from glasshouse_verify.codec import Digest, FileName, Identifier, Product, Text, Version, decode, encode
from glasshouse_verify.codec import Path as TreePath
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.lineage import Account, History, examine, history_of, parse_lineage
from glasshouse_verify.row import ManifestRoot
from glasshouse_verify.statement import Pack, Release, ReleasedFile, Source, Tree, Use, make_statement, parse_statement

from glasshouse.conveyor.build import NOT_VARIED, BuildResult, Output, build
from glasshouse.conveyor.detached import write_detached
from glasshouse.conveyor.errors import InvalidInput, InvalidRecipe
from glasshouse.conveyor.lock import Lock, parse_lock
from glasshouse.conveyor.manifest import new_secret, source_root
from glasshouse.conveyor.origin import Origins, fetch
from glasshouse.conveyor.pack import seal_pack
from glasshouse.conveyor.provenance import provenance
from glasshouse.conveyor.recipe import GitSource, Recipe, read_recipe
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.signing import CodeSigner, check_pinned, embed_signature
from glasshouse.conveyor.source import Wish, fetch_source
from glasshouse.conveyor.store import Progress, Store
from glasshouse.conveyor.tree import RECIPE_PATH, scan_tree
from glasshouse.parties.signer import Signer, sign_statement
from glasshouse.storage import files

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Press:
    """What a conveyor works with: the vendor's name, its caches, and the processes that sign for it."""

    vendor: str
    store: Store
    origins: Origins
    roots: Path
    conveyor: Signer
    releaser: Signer
    code_signer: CodeSigner | None = None
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A source that was released before: its statement's id and its commit."""

    source: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be released: a recipe directory, a version, a channel, the lock to build in.

    `follows` are the sources that it may follow, newest first: the first that it descends from, or else the first.
    """

    recipe: Path
    version: str
    channel: str
    lock: bytes
    follows: tuple[Followed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Publication:
    """One envelope to log, then the blobs it names: digest → file or bytes."""

    envelope: Envelope
    blobs: dict[str, Path | bytes]


class ReleaseRun:
    """One release in its directory. Call the steps in order; each does nothing where it was done before."""

    def __init__(
        self, directory: Path, charter: Charter, order: Order, press: Press, say: Say = lambda _: None
    ) -> None:
        self.directory, self.order, self.press, self.say = directory, order, press, say
        decode(Version, order.version, "version")
        self.recipe: Recipe = read_recipe(order.recipe)
        self.product = Product(f"{press.vendor}/{self.recipe.product}")
        self.lock: Lock = parse_lock(order.lock)
        rule = charter.products.get(self.product)
        if rule is None or self.recipe.platform not in rule.platforms or order.channel not in rule.channels:
            raise InvalidInput(
                "release",
                f"the charter has no {self.product} for {self.recipe.platform} on channel {order.channel}",
                "Amend the charter or the recipe.",
            )
        self._check_place(charter, rule)
        self._rule = rule
        self._code_signer = self._find_code_signer(rule)
        self._check_indexes()
        files.make_directory(directory, mode=0o700)
        self._check_order()
        self._recipients = {
            party: charter.parties[party].recipient or ""
            for party in rule.gate.rebuilders
            if charter.parties[party].recipient
        }

    def _check_order(self) -> None:
        """A release that was begun goes on with the recipe, lock and channel that it was begun with, or not at all."""
        self._once("lock.jsonl", lambda: self.order.lock)
        mine = _dump(
            {
                "channel": self.order.channel,
                "lock": _sha256(self.order.lock),
                "recipe": _sha256(self.recipe.text),
                "version": self.order.version,
            }
        )
        if self._once("order.json", lambda: mine) != mine:
            raise InvalidInput(
                "release",
                f"{self.product} {self.order.version} was begun with another recipe, lock or channel",
                f"Choose another version; or, if nothing of it was logged, remove {self.directory}.",
            )

    def _check_indexes(self) -> None:
        """The signed indexes that the lock was resolved from are published with it, so they have to be here."""
        store, deposit = self.press.store, self.press.origins.deposit
        for row in self.lock.indexes:
            if not (store.has(row.sha256) or (deposit is not None and deposit.supply(row.sha256, store))):
                raise InvalidInput(
                    "lock", f"was resolved from {row.path}, which is not in this node's cache", "Lock it on this node."
                )

    def _check_place(self, charter: Charter, rule: ProductRule) -> None:
        """What is built or signed elsewhere is refused by every gate, and its version is spent."""
        gate = rule.gate
        for keyid, allowed, done in (
            (self.press.conveyor.keyid, gate.build_in, "built"),
            (self.press.releaser.keyid, gate.sign_in, "signed"),
        ):
            country = charter.jurisdiction(keyid)
            if country not in allowed:
                raise InvalidInput(
                    "release",
                    f"the charter lets {self.product} be {done} in {', '.join(sorted(allowed))} only, not in {country}",
                    "Release it from a node there, or amend the charter.",
                )

    def publish_source(self, now: int) -> Publication:
        """Fetch and seal; the source statement, which is logged before anything is known of the outputs."""
        self.say(f"fetching the source of {self.product} {self.order.version}")
        self.fetch()
        self.say("sealing the source pack")
        self.seal()
        return self.sign_source(now)

    def _find_code_signer(self, rule: ProductRule) -> CodeSigner | None:
        """Who embeds signatures, where the recipe asks for them: found out before anything is built."""
        if not self.recipe.sign.authenticode:
            return None
        if self.press.code_signer is None:
            raise InvalidInput(
                "sign.authenticode", "this conveyor has no code-signing key", "see: glasshouse certificate create"
            )
        check_pinned(self.press.code_signer, rule.gate.authenticode)
        return self.press.code_signer

    def fetch(self) -> None:
        """Get the tree; `tree.json` marks it complete."""
        tree, done = self.directory / "tree", self.directory / "tree.json"
        if done.exists() and not self._is_overtaken():
            return
        for name in ("tree.json", "pack.json"):
            (self.directory / name).unlink(missing_ok=True)
        shutil.rmtree(tree, ignore_errors=True)
        press, released = self.press, {follow.commit: follow.source for follow in reversed(self.order.follows)}
        wish = Wish(version=self.order.version, before=tuple(follow.commit for follow in self.order.follows))
        fetched = fetch_source(self.recipe, self.order.recipe, self.lock, tree, press.store, press.origins, wish)
        record: dict[str, Any] = {"epoch": fetched.epoch, "commit": fetched.commit}
        if fetched.lineage is not None:
            files.write(self.directory / "lineage", fetched.lineage)
            record |= {"before": fetched.before, "follows": released.get(fetched.before or "")}
        self._once("tree.json", lambda: _dump(record))

    def _is_overtaken(self) -> bool:
        """Whether another release came between, which the source, not signed yet, has to follow."""
        if self._branch is None or (self.directory / "source.dsse").exists():
            return False
        follows = self._json("tree.json")["follows"]
        return follows not in [follow.source for follow in self.order.follows] and bool(self.order.follows)

    @property
    def commit(self) -> str | None:
        """The commit that was fetched, where the source is a repository."""
        found: str | None = self._json("tree.json")["commit"]
        return found

    @property
    def before(self) -> str | None:
        """The released commit that it follows."""
        found: str | None = self._json("tree.json").get("before")
        return found

    def account(self) -> Account | None:
        """What the lineage shows of this release, as auditors will see it; None where the recipe names no branch."""
        branch, commit, rule = self._branch, self.commit, self._rule
        if branch is None or commit is None:
            return None
        lineage = parse_lineage((self.directory / "lineage").read_bytes())
        return examine(lineage, commit, self.before, (self.product, branch), rule.developers, rule.reviewers)

    def faults(self) -> list[str]:
        """What auditors will find wrong with the history of this release."""
        account = self.account()
        if account is not None:
            return list(account.faults)
        if self._rule.developers is None:
            return []
        return ["the charter names developers, whose commits a release has to show; the recipe names no source.branch"]

    @property
    def _branch(self) -> str | None:
        return self.recipe.source.branch if isinstance(self.recipe.source, GitSource) else None

    def seal(self) -> None:
        """Choose the release secret and encrypt the pack to the product's rebuilders."""
        secret = self._once("secret", new_secret, mode=0o600)
        if not (self.directory / "pack.json").exists():
            pack = self.directory / "pack.age"
            pack.unlink(missing_ok=True)
            seal_pack(scan_tree(self.directory / "tree"), secret, list(self._recipients.values()), pack)
            self._once("pack.json", lambda: _dump({"sha256": _digest(pack), "size": pack.stat().st_size}))

    def build(self) -> None:
        """Build in the sandbox."""
        if (self.directory / "build.json").exists():
            return
        out = self.directory / "out"
        shutil.rmtree(out, ignore_errors=True)
        fetch(self.lock, self.press.store, self.press.origins, self.press.progress)
        root = make_root(self.lock, self.press.store, self.press.roots, self.press.progress)
        tree = scan_tree(self.directory / "tree")
        result = build(tree, self.recipe, root, int(self._json("tree.json")["epoch"]), out)
        outputs = [{"name": o.name, "sha256": o.sha256, "size": o.size} for o in result.outputs]
        times = {"started": result.started, "finished": result.finished}
        record = {"outputs": outputs, "variations": dict(result.variations), **times}
        self._once("build.json", lambda: _dump(record))

    def embed(self, now: int) -> None:
        """Sign what is shipped with a signature inside; `now` is the time that the signature says."""
        if (self.directory / "signed.json").exists():
            return
        place = self.directory / "signed"
        shutil.rmtree(place, ignore_errors=True)
        files.make_directory(place)
        digests: dict[str, str] = {}
        if self._code_signer is not None:
            for output in self._asked("authenticode", self.recipe.sign.authenticode):
                self.say(f"signing {output.name}")
                embed_signature(output, place / output.name, self._code_signer, now)
                digests[output.name] = _digest(place / output.name)
        self._once("signed.json", lambda: _dump(digests))

    def _asked(self, field: str, patterns: Sequence[str]) -> list[Path]:
        """The outputs that the recipe asks to be signed; each pattern must match one."""
        names = {path.name: path for path in self.outputs}
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise InvalidRecipe(f"sign.{field}", f"the build left no file {pattern!r}")
        return [path for name, path in names.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)]

    def sign_source(self, now: int) -> Publication:
        """Sign the source statement; its blobs are the pack, the lock, the signed package indexes and the lineage."""
        envelope = self._signed(
            "source.dsse", lambda: make_statement(Use.SOURCE, self._source(now)), self.press.releaser
        )
        source: Source = parse_statement(envelope.payload).predicate
        blobs: dict[str, Path | bytes] = {row.sha256: self.press.store.path(row.sha256) for row in self.lock.indexes}
        blobs |= {source.pack.sha256: self.directory / "pack.age", source.lock_file: self.lock.data}
        history = history_of(source)
        if history is not None:
            blobs[history.lineage] = self.directory / "lineage"
        return self._deposited(Publication(envelope=envelope, blobs=blobs))

    def sign_release(self, now: int) -> Publication:
        """Sign provenance and release; the blobs are both documents' and the shipped files themselves."""
        source_envelope = parse_envelope((self.directory / "source.dsse").read_bytes())
        source: Source = parse_statement(source_envelope.payload).predicate
        # It loads half of what else a command does.
        from glasshouse.conveyor.sbom import bill_of_materials

        self._asked("detached", self.recipe.sign.detached)
        self.embed(now)
        result = self._result()
        attested = self._signed(
            "provenance.dsse", lambda: provenance(source, result, self.press.vendor), self.press.conveyor
        )
        sbom = self._once("sbom.json", lambda: bill_of_materials(source, self.recipe, self.lock, result))
        release = Release(
            party=Identifier(self.press.vendor),
            product=self.product,
            version=Version(self.order.version),
            channel=Identifier(self.order.channel),
            source=Digest(statement_id(source_envelope.payload)),
            provenance=Digest(_sha256(format_envelope(attested))),
            sbom=Digest(_sha256(sbom)),
            files=tuple(sorted(self._files(result), key=lambda f: (f.platform, f.name))),
            time=now,
        )
        envelope = self._signed("release.dsse", lambda: make_statement(Use.RELEASE, release), self.press.releaser)
        released: Release = parse_statement(envelope.payload).predicate
        blobs: dict[str, Path | bytes] = {file.sha256: self._place(file.name) for file in released.files}
        blobs |= {_sha256(format_envelope(attested)): format_envelope(attested), _sha256(sbom): sbom}
        return self._deposited(Publication(envelope=envelope, blobs=blobs))

    def _deposited(self, publication: Publication) -> Publication:
        """Kept by the vendor too, whatever becomes of the ledger's blobs."""
        deposit = self.press.origins.deposit
        if deposit is not None:
            for digest, content in publication.blobs.items():
                deposit.keep(digest, content)
        return publication

    @property
    def outputs(self) -> list[Path]:
        """The built files."""
        return [output.path for output in self._result().outputs]

    @property
    def built(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of each built file."""
        return [(output.name, output.sha256) for output in self._result().outputs]

    @property
    def recipients(self) -> list[str]:
        """The parties that the source pack is encrypted to."""
        return sorted(self._recipients)

    @property
    def shipped(self) -> list[Path]:
        """The files as they are shipped: built, or built and signed."""
        return [self._place(path.name) for path in self.outputs]

    def detach(self) -> list[Path]:
        """Write the signature files that the recipe asks for beside what is shipped; the release must be signed."""
        asked = [self._place(path.name) for path in self._asked("detached", self.recipe.sign.detached)]
        return write_detached(parse_envelope((self.directory / "release.dsse").read_bytes()), asked)

    def _place(self, name: str) -> Path:
        return self.directory / ("signed" if name in self._json("signed.json") else "out") / name

    def _source(self, now: int) -> Source:
        fetched, pack, account = self._json("tree.json"), self._json("pack.json"), self.account()
        secret = (self.directory / "secret").read_bytes()
        return Source(
            party=Identifier(self.press.vendor),
            product=self.product,
            version=Version(self.order.version),
            manifest=_tree(source_root(scan_tree(self.directory / "tree"), secret)),
            lock=_tree(self.lock.root),
            lock_file=Digest(_sha256(self.lock.data)),
            indexes=tuple(row.sha256 for row in self.lock.indexes),
            recipe=TreePath(RECIPE_PATH),
            epoch=int(fetched["epoch"]),
            time=now,
            pack=Pack(
                sha256=Digest(pack["sha256"]),
                size=int(pack["size"]),
                recipients=tuple(Identifier(party) for party in self.recipients),
            ),
            commit=None if fetched["commit"] is None else Text(fetched["commit"]),
            authors=_named(account.authors if account else ()),
            reviewers=_named(account.reviewers if account else ()),
            history=None if self._branch is None else encode(self._history(fetched["follows"])),
        )

    def _history(self, follows: str | None) -> History:
        return History(
            branch=Text(self._branch or ""),
            lineage=Digest(_digest(self.directory / "lineage")),
            follows=None if follows is None else Digest(follows),
        )

    def _result(self) -> BuildResult:
        record, out = self._json("build.json"), self.directory / "out"
        outputs = tuple(
            Output(name=o["name"], path=out / o["name"], sha256=o["sha256"], size=o["size"]) for o in record["outputs"]
        )
        return BuildResult(
            outputs=outputs,
            log=out / "build.log",
            started=record["started"],
            finished=record["finished"],
            executor=record["variations"].get("executor", ""),
            variations=record["variations"],
            not_varied=NOT_VARIED,
        )

    def _files(self, result: BuildResult) -> Iterator[ReleasedFile]:
        signed = self._json("signed.json")
        for output in result.outputs:
            built = Digest(output.sha256)
            yield ReleasedFile(
                platform=Identifier(self.recipe.platform),
                name=FileName(output.name),
                sha256=Digest(signed.get(output.name, built)),
                unsigned=built if output.name in signed else None,
            )

    def _signed(self, name: str, payload: Callable[[], bytes], signer: Signer) -> Envelope:
        return parse_envelope(self._once(name, lambda: format_envelope(sign_statement(payload(), signer))))

    def _once(self, name: str, make: Callable[[], bytes], mode: int = 0o644) -> bytes:
        path = self.directory / name
        if not path.exists():
            files.create(path, make(), mode=mode)
        return path.read_bytes()

    def _json(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.directory / name).read_bytes())
        return record


def _dump(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True).encode()


def _tree(root: ManifestRoot) -> Tree:
    return Tree(root=Digest(root.root.hex()), size=root.size)


def _named(names: Sequence[str]) -> tuple[Text, ...] | None:
    """Names as a statement lists them: not at all where there are none."""
    return tuple(map(Text, names)) if names else None


def _sha256(data: bytes) -> str:
    return sha256(data).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
