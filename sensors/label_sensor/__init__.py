"""The label sensor: counts new labels, and starts a run when they are worth one. `python -m sensors.label_sensor`."""
