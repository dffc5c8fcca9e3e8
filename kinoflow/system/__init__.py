"""What any program needs: errors, files, locks, terminals, processes. It knows nothing of videos."""
