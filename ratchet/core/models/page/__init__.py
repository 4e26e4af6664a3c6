"""What people look at of an evaluation: what there is to see (`shown`), drawn (`drawing`), in parts (`parts`)."""
