"""`stoker top`: a service in a terminal, live, with keys for leases and jobs."""
