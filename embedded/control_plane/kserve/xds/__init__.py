"""What Envoy reads: clusters (CDS) and routes (RDS), as pure functions of services, revisions and weights.

Each revision is one cluster of its own name, whose per-endpoint counters tell exactly what that revision did. Requests
go through `<revision>.fallback`, an aggregate of the revision and of the other one that has traffic: when a revision
dies, its requests are retried on the other, and no user sees a failure. Which revision *answered* is in the model
server's own `x-ratchet-model` header; `x-ratchet-revision` names the one that the split chose.

A revision without traffic may get copies of the others' requests: straight to its own cluster, so that no fallback and
no retry is in between. Envoy throws the answers away, and waits for none.

Retried are failures of the process (refused, reset, 502 to 504). A plain 500 is the model's own answer: the user sees
it, and so does the judge of the rollout.
"""
