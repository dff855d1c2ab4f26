"""The static beginnings of every prompt, as text files: a changed file is a changed stage key."""
