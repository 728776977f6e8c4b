"""fMRI preprocessing: from runs of volumes to one scaled response vector per clip."""
