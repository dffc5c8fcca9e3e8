"""What the commands `kinoflow predict` and `kinoflow live` do with their arguments."""
