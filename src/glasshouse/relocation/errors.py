"""Every error of this room.

RelocationError
├── InvalidInput       a request or a document that breaks its format: .field, .reason, .fix
├── NotYet             a step whose predecessors do not stand in the ledger: nothing was done
├── NotGiven           a site gives the supervisor nothing of what was asked for: .reason, .field, .fix
├── Refused            the supervisor found something wrong, and has logged it: .faults
├── Forbidden          a store says that these credentials may not: .store, .doing
├── AfterTheFence      something was written to the old site after its fence: .faults; it was left as it is
├── StoreLied          a store that does not do what it acknowledged; nothing counts as copied or erased by it
└── Unavailable        something this room needs does not answer; trying again later may help
"""

from collections.abc import Sequence

from glasshouse_verify.relocation import Fault


class RelocationError(Exception):
    """Base of every error of `glasshouse.relocation`."""


class InvalidInput(RelocationError):
    """Input that breaks its format: `field` names the part, `fix` says what to do about it."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field}: {reason}. {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class NotYet(RelocationError):
    """A step that others have to come before. Nothing was done."""


class NotGiven(RelocationError):
    """A site does not give what opens an object, and has recorded that; `reason` is one of `giving.Refusal`'s."""

    def __init__(self, reason: str, text: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(text)
        self.reason, self.field, self.fix = reason, field, fix


class Refused(RelocationError):
    """The supervisor found something wrong: `faults`."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.site}: {fault.text}" for fault in faults))
        self.faults = tuple(faults)


class Forbidden(RelocationError):
    """A store says that these credentials may not do this."""

    def __init__(self, store: str, doing: str) -> None:
        super().__init__(f"{store} refuses {doing} with these credentials. Grant it, or use credentials that may.")
        self.store, self.doing = store, doing


class AfterTheFence(RelocationError):
    """The old site has what it did not have at the fence: `faults`. That is an alarm, and nothing of it was erased."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.site}: {fault.text}" for fault in faults))
        self.faults = tuple(faults)


class StoreLied(RelocationError):
    """A store does not do what it acknowledged. Nothing that rests on it counts."""


class Unavailable(RelocationError):
    """Something that a move needs does not answer. Trying again later may help."""
