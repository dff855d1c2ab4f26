"""Virtual boxes: a discrete-event engine, workloads, and the arms that drive them."""
