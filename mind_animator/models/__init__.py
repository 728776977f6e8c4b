"""The frozen models by id: lock file, local folders, one tensor path of images, strict loading."""
