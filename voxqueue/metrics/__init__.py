"""What Voxqueue counts and measures, for Prometheus. One module per thing that is measured; `exposition` shows them.

Each place that has something to tell calls one function here, which costs microseconds. Nothing here asks anybody, and
no label holds what callers choose: tenants, ids, addresses and texts would be series without end.
"""
