"""Reading and writing every file format, atomically: the only room that knows HDF5, Parquet, CIFTI and mp4."""
