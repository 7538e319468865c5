"""What can be done with latents themselves: sample, fill, blend, edit, find anomalies and similar pictures."""
