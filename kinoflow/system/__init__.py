"""What any program needs: errors, files, locks, processes. It knows nothing of videos."""
