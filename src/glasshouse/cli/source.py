"""`glasshouse source`: review a change, see who signed and reviewed what a release was built from."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.charter import ProductRule
from glasshouse_verify.codec import Identifier, Product, decode
from glasshouse_verify.gitobject import parse_tag
from glasshouse_verify.lineage import BRANCH, REVIEW_PREFIX, Account, review_title
from glasshouse_verify.statement import Source, Use

from glasshouse.cli.audit import scene_of
from glasshouse.cli.wiring import JsonOption, LedgerOption, PinOption, emit, follow_pin, read_pin
from glasshouse.conveyor.errors import InvalidInput
from glasshouse.conveyor.recipe import GitSource, Recipe
from glasshouse.conveyor.release import Followed, ReleaseRun
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.history import History, Record
from glasshouse.parties.errors import SettingsError
from glasshouse.supervision.errors import SourceFlagged
from glasshouse.supervision.rules.source_history import judge, predecessors, released

app = typer.Typer(no_args_is_help=True, help="Review changes; check who signed and reviewed a release's source.")
GIT_SECONDS = 60
SHOWN_DIGITS = 12
NOT_SHOWN = (
    "what was there before the first release with a history, what the host of the repository lets anybody do between "
    "two releases, and whether two keys are two people"
)


@app.command()
def review(
    product: Annotated[str, typer.Option("--product", help="the product, as vendor/product")],
    name: Annotated[str, typer.Option("--as", help="your name in the charter's list of developers")],
    commit: Annotated[str, typer.Argument(help="the commit up to which you have read")] = "HEAD",
    branch: Annotated[str, typer.Option("--branch", help="the branch that it goes to")] = "main",
    since: Annotated[
        str | None, typer.Option("--since", help="the commit from which on you have read; default: its first parent")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="your SSH key (ed25519); default: git's user.signingKey", exists=True)
    ] = None,
    repository: Annotated[Path, typer.Option("--repository", help="your clone", file_okay=False)] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Sign, as a tag of git, that you have read every change after one commit up to another; then push the tag."""
    tip = _git(repository, "rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    parents = _git(repository, "rev-list", "--parents", "-n1", tip).split()[1:]
    start = parents[0] if since is None and parents else None
    if since is not None:
        start = _git(repository, "rev-parse", "--verify", f"{since}^{{commit}}").strip()
    if not re.fullmatch(BRANCH, branch):
        raise SettingsError("--branch", f"{branch!r} is the name of no branch", "Give one such as main.")
    title = review_title(decode(Product, product, "--product"), branch, start)
    tag = f"{REVIEW_PREFIX}{decode(Identifier, name, '--as')}/{tip[:SHOWN_DIGITS]}"
    settings = ["-c", "gpg.format=ssh", *(["-c", f"user.signingKey={key.resolve()}"] if key else [])]
    _git(repository, *settings, "tag", "-s", "-m", title, tag, tip)
    made = parse_tag(_git_bytes(repository, "cat-file", "tag", f"refs/tags/{tag}"), len(tip))
    if made.signer is None or made.title != title:
        _git(repository, "tag", "-d", tag)
        reason = "is no ed25519 key, so nobody could check the review"
        raise SettingsError("--key", reason, "Make one: ssh-keygen -t ed25519")
    document = {"schema": "glasshouse.source-review/v1", "tag": tag, "commit": tip, "since": start}
    emit(document, f"{title}\nPublish it with: git push origin refs/tags/{tag}", as_json=as_json)


@app.command()
def check(
    product: Annotated[str, typer.Argument(help="the product, as vendor/product")],
    version: Annotated[str, typer.Argument(help="its version")],
    ledger: LedgerOption,
    pin: PinOption = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """Recompute from a logged lineage who signed and who reviewed a source; exit 1 where auditors flag it."""
    history = follow_pin(ledger, read_pin(pin))
    record = _logged(history, product, version)
    rule = history.chain.at(record.index).charter.products.get(record.predicate.product)
    if rule is None:
        raise SettingsError("product", f"the charter has no {product}", "See: glasshouse charter show.")
    with LedgerClient(ledger) as client:
        account = judge(scene_of(history, client), record, rule)
    if account is None:
        raise SourceFlagged(f"{product} {version}: the ledger does not have its lineage")
    document = {"schema": "glasshouse.source-check/v1", "product": product, "version": version}
    document |= _shown(account, record.predicate, rule)
    emit(document, _text(document), as_json=as_json)
    if account.faults:
        raise typer.Exit(1)


def _logged(history: History, product: str, version: str) -> Record:
    found = [
        record
        for record in history.standing(Use.SOURCE)
        if (record.predicate.product, record.predicate.version) == (product, version)
    ]
    if not found:
        raise SettingsError("version", f"no source of {product} {version} is logged", "See: glasshouse status show.")
    return found[-1]


def _shown(account: Account, source: Source, rule: ProductRule) -> dict[str, Any]:
    said = source.history if isinstance(source.history, dict) else {}
    return {
        "commit": source.commit,
        "branch": said.get("branch"),
        "follows": said.get("follows"),
        "commits": list(account.changes),
        "authors": list(account.authors),
        "reviewers": list(account.reviewers),
        "faults": list(account.faults),
        "slsa": slsa_of(account, source, rule),
        "not_shown": NOT_SHOWN,
    }


def slsa_of(account: Account, source: Source, rule: ProductRule) -> list[str]:
    """What of SLSA 1.2's source track is shown: the level of the revision, and the property of two-party review.

    A level above 1 speaks of what the host of the repository enforces on every push, which nobody can recompute here.
    """
    found = ["SLSA_SOURCE_LEVEL_0" if source.commit is None else "SLSA_SOURCE_LEVEL_1"]
    if rule.developers is not None and rule.reviewers and account.changes and not account.faults:
        found.append("SLSA_SOURCE_TWO_PARTY_REVIEWED")
    return found


def _text(document: dict[str, Any]) -> str:
    follows = document["follows"]
    lines = [
        f"{document['product']} {document['version']}: commit {document['commit']} on {document['branch']}",
        f"  follows     {f'source {follows}' if follows else 'nothing: the first with a history'}",
        f"  commits     {len(document['commits'])}, signed by {_listed(document['authors'])}",
        f"  reviewed    by {_listed(document['reviewers'])}",
        f"  SLSA 1.2    {', '.join(document['slsa'])}",
        *(f"  flagged     {fault}" for fault in document["faults"]),
        f"  not shown   {document['not_shown']}",
    ]
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nobody whom the charter names"


# What `glasshouse release` asks


def follows(history: History, vendor: str, recipe: Recipe) -> tuple[Followed, ...]:
    """The sources that the next release of a recipe may follow, newest first; none where it shows no history."""
    if not isinstance(recipe.source, GitSource) or recipe.source.branch is None:
        return ()
    before = list(released(history, f"{vendor}/{recipe.product}", history.size))
    found = predecessors(before, recipe.source.branch)
    return tuple(Followed(source=other.id, commit=other.source.commit or "") for other in found)


def check_history(run: ReleaseRun, *, flagged: bool) -> None:
    """Fetch the source; InvalidInput where auditors will flag its history, unless that is accepted."""
    run.fetch()
    faults = run.faults()
    if faults and not flagged:
        fix = "have it reviewed (glasshouse source review) or mended, or release it all the same with --flagged"
        raise InvalidInput("source history", "; ".join(faults), fix)


def history_document(run: ReleaseRun) -> dict[str, Any]:
    """What a release would show of its history, and what auditors will flag."""
    account = run.account()
    document: dict[str, Any] = {"commit": run.commit, "before": run.before, "faults": run.faults()}
    if account is not None:
        names = {"authors": list(account.authors), "reviewers": list(account.reviewers)}
        document |= {"commits": len(account.changes), **names}
    return document


def history_lines(document: dict[str, Any]) -> list[str]:
    """The same for people."""
    lines = []
    if "commits" in document:
        since = f" since {document['before'][:SHOWN_DIGITS]}" if document["before"] else ""
        signed, reviewed = _listed(document["authors"]), _listed(document["reviewers"])
        count = f"{document['commits']} commit{'' if document['commits'] == 1 else 's'}"
        lines.append(f"  history  {count}{since}, signed by {signed}, reviewed by {reviewed}")
    return lines + [f"  flagged  {fault}" for fault in document["faults"]]


# Git, as the reviewer has set it up: the clone and the key are the reviewer's own.


def _git(repository: Path, *arguments: str) -> str:
    return _git_bytes(repository, *arguments).decode(errors="replace")


def _git_bytes(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise SettingsError("git", "is not installed", "Install the package git.") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"git ended with {done.returncode}"
        raise SettingsError(f"git {arguments[-1]}", reason, "Mend that in the repository.")
    return done.stdout
