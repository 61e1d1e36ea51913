"""The auditor's rules, one file each: a name, and a function from what the ledger says to the alarms that follow.

To add a rule, write a file with `NAME` and `check` and list it below. Rules are pure over their `Scene`: the same scene
gives the same alarms, so that another party can recompute any finding.
"""

from glasshouse.supervision.rules import (
    access,
    availability,
    blindness,
    charter_chain,
    duties,
    entitlement,
    erasure,
    inventory_counts,
    inventory_dates,
    inventory_rows,
    inventory_sites,
    provenance,
    releases,
    relocation_dates,
    relocation_erasure,
    relocation_rows,
    relocation_steps,
    revocations,
    source_history,
    traps,
    verdicts,
)
from glasshouse.supervision.rules.scene import Alarm, Check, Scene

RULES: dict[str, Check] = {
    module.NAME: module.check
    for module in (
        charter_chain,
        entitlement,
        releases,
        source_history,
        provenance,
        verdicts,
        blindness,
        traps,
        revocations,
        duties,
        access,
        erasure,
        inventory_sites,
        inventory_rows,
        inventory_counts,
        inventory_dates,
        relocation_steps,
        relocation_rows,
        relocation_erasure,
        relocation_dates,
        availability,
    )
}

__all__ = ["RULES", "Alarm", "Check", "Scene"]
