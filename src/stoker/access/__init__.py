"""Who may ask for what: API keys in a file of the data folder, and what each of them allows."""
