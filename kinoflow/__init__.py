"""kinoflow: from a folder of labelled videos to a served action-recognition model."""
