"""The page at `/`: static files, no build step, nothing fetched from elsewhere."""
