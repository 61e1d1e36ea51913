"""The machines' jobs that a custodian opens wrappings for, by the names under which it counts them in public."""

ANALYSIS = "analysis"
# A site gets back what it has lost from another one, or hands over what that one lacks.
REPAIR = "repair"
# A new key epoch: every data key is wrapped anew.
REWRAP = "rewrap"
JOBS = (ANALYSIS, REPAIR, REWRAP)
