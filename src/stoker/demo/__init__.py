"""`stoker demo`: a mixed workload through the real HTTP API, watched live, ending with a table."""
