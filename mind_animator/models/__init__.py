"""The frozen models by id: lock file, local folders, one tensor path of pictures, strict loading."""
