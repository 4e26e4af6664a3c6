"""What our servers and their clients have in common, whichever product they belong to. It imports nothing of ours.

The library and the embedded control plane are two products that know nothing of each other and speak HTTP and JSON all
the same: who may call, how slow and how large a request may be, whether a loop still turns, what is JSON, when a cron
expression is due, and how a refusal says what was wrong.
"""
