"""Nodes and their cards, and the terms that make a first charter of them."""

from pathlib import Path
from typing import Any

from glasshouse.parties import drafting
from glasshouse.parties.card import Card, create_node
from glasshouse.parties.node import Node, NodeSettings

# The terms in the module's own documentation are those of the tests.
TERMS = drafting.__doc__.partition("(TOML):")[2].replace("\n    ", "\n") if drafting.__doc__ else ""
SERVE = {"listen": "127.0.0.1:8471"}
PARTIES: dict[str, dict[str, Any]] = {
    "acme": {"ledger": {"origin": "ledger.acme.example"}, "serve": SERVE, "conveyor": {}, "member": True},
    "lab": {"rebuilder": {}, "auditor": {}, "member": True},
    "second": {"rebuilder": {}, "auditor": {}},
    "ngo": {"member": True},
    "w1": {"witness": {"name": "w1.example"}, "serve": SERVE},
    "w2": {"witness": {"name": "w2.example"}, "serve": SERVE},
}
NOW = 1_800_000_000


def make(directory: Path, party: str, **settings: Any) -> tuple[Node, Card]:
    site = {"id": f"{party}-site", "name": party, "jurisdiction": "CH"}
    node = Node(directory, NodeSettings.model_validate({"party": party, "name": party, "site": site} | settings))
    return node, create_node(node)
