"""What a form holds beside its model. These files are copied into it, and work without kinoflow."""
