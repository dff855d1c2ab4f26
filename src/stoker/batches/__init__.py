"""OpenAI's files and batches: a file of requests becomes durable jobs, their answers a file."""
