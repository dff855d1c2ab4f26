"""`stoker doctor`: facts about host, engine and service, and what to change about them."""
