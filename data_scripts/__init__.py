"""What made the embedded pictures and networks, and what fetches the real ones."""
