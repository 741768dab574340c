"""A folder that stands first on PYTHONPATH of the processes whose reading is traced."""
