"""HTTP to transcript: the service room. Imports `model` and `features`, never `training`."""
