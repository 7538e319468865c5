"""What evaluates the networks of pixels: g_a, h_a and g_s."""
