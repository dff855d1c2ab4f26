"""asyncio around the core: tasks, timers, cancellation. Decides nothing."""
