"""The machine that the control plane runs on: its processes, ports, environment and container engine."""
