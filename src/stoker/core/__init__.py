"""Every decision that Stoker makes: events in, actions out, time inside the event.

Nothing in here waits, reads a clock, draws a random number or touches the outside world; the
contract is checked by import-linter. The same code runs live, in the simulator and in a replay.
"""
