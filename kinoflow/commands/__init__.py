"""What the commands of `kinoflow` do with their arguments, for those that need more than a page."""
