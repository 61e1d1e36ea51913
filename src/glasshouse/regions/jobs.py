"""The machines' jobs that a custodian opens wrappings for, by the names under which it counts them in public."""

ANALYSIS = "analysis"
# A site gets back what it has lost from another one, or hands over what that one lacks.
REPAIR = "repair"
# A new key epoch: every data key is wrapped anew.
REWRAP = "rewrap"
# A site that data leaves hands over what it cannot open alone any more.
RELOCATION = "relocation"
# A site gives the supervisor of a move what opens the objects of the sample.
RELOCATION_SAMPLE = "relocation-sample"
JOBS = (ANALYSIS, REPAIR, REWRAP, RELOCATION, RELOCATION_SAMPLE)
