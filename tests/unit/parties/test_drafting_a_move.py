"""The amendment after which a vendor's products come from one country only."""

from typing import Any

from glasshouse_verify.charter import Charter
from world import PRODUCT, World, digest

from glasshouse.parties.drafting import draft_move

OLD = {"build_in": ["RU"], "sign_in": ["RU"]}
PINS = {"signers": [digest(b"old")], "timestampers": [digest(b"clock")], "chain": [digest(b"old root")]}


def rule(**gate: Any) -> dict[str, Any]:
    fixed = {"rebuilders": ["lab", "second"], "quorum": 2, "accept": ["identical"], "blind": False}
    return {"platforms": ["linux-x86_64"], "channels": ["stable"], "reviewers": 0, "gate": fixed | OLD | gate}


def newest(world: World) -> Charter:
    return world.history.chain.newest.charter


def test_all_products_of_the_vendor_move_and_no_others() -> None:
    beta = {"name": "Beta", "roles": ["vendor"], "keys": {}}
    products = {PRODUCT: rule(), "acme/rules": rule(build_in=["CH", "RU"]), "beta/tool": rule()}
    world = World(products=products, parties={"beta": beta})
    patch = draft_move(newest(world), "acme", "CH", "CH")
    assert set(patch["products"]) == {PRODUCT, "acme/rules"}
    world.amend(patch)
    moved = newest(world).products
    assert {name: (p.gate.build_in, p.gate.sign_in) for name, p in moved.items()} == {
        PRODUCT: (("CH",), ("CH",)),
        "acme/rules": (("CH",), ("CH",)),
        "beta/tool": (("RU",), ("RU",)),
    }
    assert draft_move(newest(world), "acme", "CH", "CH") == {}


def test_the_new_sites_certificate_signs_alone() -> None:
    world = World(products={PRODUCT: rule(authenticode=PINS), "acme/rules": rule()})
    signing = [digest(b"new"), digest(b"new root")]
    world.amend(draft_move(newest(world), "acme", "CH", "CH", signing))
    pins = newest(world).products[PRODUCT].gate.authenticode
    assert pins is not None
    assert (pins.signers, pins.timestampers) == ((digest(b"new"),), (digest(b"clock"),))
    assert set(pins.chain) == {digest(b"old root"), digest(b"new root")}
    assert newest(world).products["acme/rules"].gate.authenticode is None


def test_without_a_certificate_the_pins_stay() -> None:
    world = World(products={PRODUCT: rule(authenticode=PINS)})
    patch = draft_move(newest(world), "acme", "CH", "NO")
    assert patch == {"products": {PRODUCT: {"gate": {"build_in": ["CH"], "sign_in": ["NO"]}}}}
