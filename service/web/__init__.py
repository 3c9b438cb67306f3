"""The page at `/`: three static files, no build step, nothing fetched from elsewhere."""
