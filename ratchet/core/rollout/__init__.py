"""The rollout judge, pure: windows of counters in, decisions with reasons out.

policy      the reviewed numbers
window      what both revisions did between two looks
sequential  bounds on a ratio that hold however often one looks
judge       one look: remember it, measure the harm, decide
trace       the same judge over a recorded request trace
report      the verdict for people: a picture of the evidence over time
"""
