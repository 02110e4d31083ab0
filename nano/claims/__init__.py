"""The paper's claims in small: what is trained and run for them, and the page that says which hold."""
