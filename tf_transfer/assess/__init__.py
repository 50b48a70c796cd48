"""The domain adaptability evaluation, `--phase=assess`: what is measured, with which controls, in the time there is."""
