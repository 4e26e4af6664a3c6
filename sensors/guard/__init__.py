"""The guard: closes rollouts whose run died, watches champions after their promotion, takes feedback.

`python -m sensors.guard`.
"""
