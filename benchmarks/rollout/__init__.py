"""How often the rollout judge is wrong, and how fast it is right: a simulator with fixed seeds.

worlds    what happens to stable and canary, minute by minute and arm by arm
batch     the judge over thousands of rollouts at once: its own arithmetic, on arrays
peers     Flagger's default policy and a Mann-Whitney judge on the same worlds; Wald's test that knows the true rates
"""
