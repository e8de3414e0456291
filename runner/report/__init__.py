"""For people: progress on the terminal, tables, pictures and advice."""
