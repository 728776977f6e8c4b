"""Configuration keys that were renamed before the first release; the error for an old key states its new name."""

RENAMED = {
    "areas": "rois",
    "cells": "flow_grid_size",
    "clip_image": "clip_embedding_image",
    "clip_text": "clip_embedding_text",
    "components": "n_input_components",
    "condition": "prompt_embedding_weight",
    "decoded_share": "scheduled_sampling_prob",
    "depth": "strength",
    "efficientnet": "metrics",
    "first_loss": "first_loss_frame",
    "full_speed": "rescale_flow",
    "inversion_steps": "num_inversion_steps",
    "mask_kept": "mask_keep_ratio",
    "moving": "moving_fraction",
    "rank": "n_components",
    "save_seconds": "checkpoint_interval",
    "share": "fraction",
    "steps": "num_inference_steps",
}
