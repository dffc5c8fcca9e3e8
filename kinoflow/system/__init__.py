"""What any command-line program needs: errors, files, locks, processes, the terminal."""
