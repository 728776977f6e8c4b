"""Speed, memory and numerical agreement of every GPU stage on one machine: ``mind-animator benchmark-gpu``."""
