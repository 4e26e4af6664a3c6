"""The rollout judge, pure: windows of counters in, decisions with reasons out. docs/decisions/0006 says why it is so.

policy            the reviewed numbers
window            what both revisions did between two looks
betting           evidence that may be looked at whenever one likes: bets and votes, on arrays
sequential        bounds on a ratio that hold however often one looks
wealth            which bets, votes and bounds judge which metric, and how the alphas are spent
quality           predictions and labels, joined into windows
quality_evidence  agreement, scores and accuracy as evidence
progress          what is seen and remembered; `observe` a look
evidence          what the memory proves, in numbers
checks, waiting   the checks that a decision goes by, each a reason with both numbers
decide, follow    the next action; what it does to the memory
history           `judge_look`: the three together; `replay_looks`: recorded looks again, bit for bit
trace             the same judge over a plain request trace
report, picture   the evidence over time, as a page and for a terminal
"""
