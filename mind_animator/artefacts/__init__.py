"""Reading and atomic writing of all file formats (HDF5, Parquet, CIFTI, mp4, ...); no other package reads or
writes them."""
